// One request to the service: its answer as text and the milliseconds it took.
export async function send(url, type, body, accept) {
  const headers = { "Content-Type": type, Accept: accept };
  const key = document.getElementById("key")?.value;
  if (key) {
    headers["X-API-Key"] = key;
  }
  const started = performance.now();
  let response;
  try {
    response = await fetch(url, { method: "POST", headers, body });
  } catch {
    throw new Error("The service did not answer.");
  }
  const text = await response.text();
  if (!response.ok) {
    throw new Error(problemOf(response, text));
  }
  return { text, milliseconds: performance.now() - started };
}

// What a problem document says, or else who may have answered in place of the service.
function problemOf({ status, headers }, text) {
  if (headers.get("Content-Type")?.startsWith("application/problem+json")) {
    return JSON.parse(text).detail;
  }
  return `The answer ${status} is not of the service: it may be starting, or something between you and it refuses.`;
}
