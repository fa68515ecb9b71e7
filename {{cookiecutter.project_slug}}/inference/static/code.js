// The request in code, and a link that carries the inputs.
import { form } from "./form.js";

const line = document.getElementById("curl");
const language = document.getElementById("language");
const link = document.getElementById("link");
const needsKey = document.getElementById("key") !== null;
const url = new URL(form.dataset.url, location).href;
let instance = {};

const LANGUAGES = {
  curl(body) {
    const quoted = body.replaceAll("'", "'\\''");
    return `curl ${url} -H 'Content-Type: application/json' -d '${quoted}'${needsKey ? ' -H "X-API-Key: $API_KEY"' : ""}`;
  },
  python(body) {
    const headers = needsKey ? ', headers={"X-API-Key": os.environ["API_KEY"]}' : "";
    const imports = `import json\n${needsKey ? "import os\n" : ""}\nimport requests`;
    return `${imports}\n\nbody = json.loads(${JSON.stringify(body)})\nanswer = requests.post("${url}", json=body${headers})\nprint(answer.json())`;
  },
  javascript(body) {
    const key = needsKey ? ', "X-API-Key": process.env.API_KEY' : "";
    return `const answer = await fetch("${url}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${key} },\n  body: JSON.stringify(${body}),\n});\nconsole.log(await answer.json());`;
  },
};

function write() {
  line.textContent = LANGUAGES[language.value](JSON.stringify({ instances: [instance] }));
}

async function copy(text, node) {
  getSelection().selectAllChildren(node);
  // Only pages of this machine or by HTTPS may write to the clipboard; elsewhere the text is selected.
  await navigator.clipboard?.writeText(text);
}

document.addEventListener("answered", ({ detail }) => {
  instance = detail.instance;
  write();
  link.href = `#inputs=${encodeURIComponent(JSON.stringify(instance))}`;
});
language.addEventListener("change", write);
document.getElementById("copy").addEventListener("click", () => copy(line.textContent, line));
link.addEventListener("click", () => copy(link.href, link));
