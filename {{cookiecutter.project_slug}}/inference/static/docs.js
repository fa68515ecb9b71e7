// Sends an example of the API's description, as it was edited, and shows what comes back.
for (const form of document.querySelectorAll("form")) {
  const { method, url, type } = form.dataset;
  const answer = form.querySelector("pre");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("key")?.value;
    const headers = { ...(type && { "Content-Type": type }), ...(key && { "X-API-Key": key }) };
    const body = form.querySelector("textarea")?.value;
    try {
      const response = await fetch(url, { method: method.toUpperCase(), headers, body });
      const text = await response.text();
      const isJson = response.headers.get("Content-Type")?.includes("json");
      answer.textContent = `${response.status} ${response.statusText}\n${isJson ? JSON.stringify(JSON.parse(text), null, 2) : text}`;
    } catch {
      answer.textContent = "The service does not answer.";
    }
    answer.hidden = false;
  });
}
