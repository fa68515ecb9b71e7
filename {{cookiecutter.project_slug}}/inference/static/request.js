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
    throw new Error(JSON.parse(text).detail);
  }
  return { text, milliseconds: performance.now() - started };
}
