// Send a request to the service with the API key of the page; return the response, its text and its milliseconds.
export async function ask(url, { headers, ...options }) {
  const key = document.getElementById("key")?.value;
  if (key) {
    headers = { ...headers, "X-API-Key": key };
  }
  const started = performance.now();
  try {
    const response = await fetch(url, { ...options, headers });
    const text = await response.text();
    return { response, text, milliseconds: performance.now() - started };
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Error("The service does not answer: check your network, or ask whether it runs.");
  }
}

// Request predictions; throw an Error that says what went wrong.
export async function send(url, type, body, accept, signal) {
  const headers = { "Content-Type": type, Accept: accept };
  const { response, text, milliseconds } = await ask(url, { method: "POST", headers, body, signal });
  if (!response.ok) {
    throw Object.assign(new Error(problemOf(response, text)), { status: response.status });
  }
  return { text, milliseconds };
}

// The reason of a failure: that of the problem document, or who may have answered instead of the service.
export function problemOf({ status, headers }, text) {
  const isOurs = headers.get("Content-Type")?.startsWith("application/problem+json");
  const wait = Number(headers.get("Retry-After"));
  const again = wait ? `Try again in ${wait} s.` : "Try again in a moment.";
  if (status === 401) {
    const field = document.getElementById("key");
    return field?.value ? "This API key is not accepted." : "Enter the API key first: the field is at the top.";
  }
  if (status === 429 || status === 503) {
    return `The service has too much to do, or is starting. ${again}`;
  }
  if (isOurs) {
    return JSON.parse(text).detail;
  }
  if (status === 413) {
    return "This is more than the service, or a proxy before it, takes at once.";
  }
  return `Something between you and the service answered ${status}: it may be starting, or a proxy refuses. ${again}`;
}
