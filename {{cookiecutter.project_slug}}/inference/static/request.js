// One request to the service: its answer as text and the milliseconds it took.
export async function send(url, type, body, accept, signal) {
  const headers = { "Content-Type": type, Accept: accept };
  const key = document.getElementById("key")?.value;
  if (key) {
    headers["X-API-Key"] = key;
  }
  const started = performance.now();
  let response;
  let text;
  try {
    response = await fetch(url, { method: "POST", headers, body, signal });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new Error("The service does not answer: check your network, or ask whether it runs.");
  }
  if (!response.ok) {
    throw new Error(problemOf(response, text));
  }
  return { text, milliseconds: performance.now() - started };
}

// What went wrong, in words: the problem document's, or who may have answered in place of the service.
function problemOf({ status, headers }, text) {
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
