// Sends an example from the API documentation, as edited, and shows the response.
import { ask } from "./request.js";

function pretty(response, text) {
  const isJson = response.headers.get("Content-Type")?.includes("json");
  return isJson ? JSON.stringify(JSON.parse(text), null, 2) : text;
}

for (const form of document.querySelectorAll("form")) {
  const { method, url, type } = form.dataset;
  const answer = form.querySelector("pre");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const headers = type ? { "Content-Type": type } : {};
    const body = form.querySelector("textarea")?.value;
    try {
      const { response, text } = await ask(url, { method: method.toUpperCase(), headers, body });
      answer.textContent = `${response.status} ${response.statusText}\n${pretty(response, text)}`;
    } catch (error) {
      answer.textContent = error.message;
    }
    answer.hidden = false;
  });
}
