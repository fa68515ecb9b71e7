// The request as code, and a link that contains the inputs.
import { form, onAnswer } from "./form.js";

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

// The inputs of the Open Inference Protocol, with the values of the instance instead of the example's.
async function tensors() {
  const document = await (await fetch(line.dataset.openapi)).json();
  const { inputs } = document.paths[line.dataset.infer].post.requestBody.content["application/json"].example;
  return inputs.map(({ name, datatype, shape }) => {
    const value = name in instance ? instance[name] : Object.keys(instance).map((key) => instance[key]);
    return [name, datatype, shape, [value ?? null].flat(Infinity).map((each) => each ?? (datatype === "BYTES" ? "" : null))];
  });
}

async function triton() {
  const headers = needsKey ? ', headers={"X-API-Key": os.environ["API_KEY"]}' : "";
  const { host } = location;
  const model = line.dataset.infer.split("/").at(-2);
  return `import json
${needsKey ? "import os\n" : ""}
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import triton_to_np_dtype

inputs = []
for name, datatype, shape, values in json.loads(${JSON.stringify(JSON.stringify(await tensors()))}):
    tensor = triton.InferInput(name, shape, datatype)
    tensor.set_data_from_numpy(np.array(values, triton_to_np_dtype(datatype)).reshape(shape))
    inputs.append(tensor)
client = triton.InferenceServerClient("${host}"${location.protocol === "https:" ? ", ssl=True" : ""})
answer = client.infer("${model}", inputs${headers})
for output in answer.get_response()["outputs"]:
    print(output["name"], answer.as_numpy(output["name"]).tolist())`;
}

async function write() {
  const body = JSON.stringify({ instances: [instance] });
  line.textContent = language.value === "triton" ? await triton() : LANGUAGES[language.value](body);
}

onAnswer((detail) => {
  instance = detail.instance;
  write();
  link.href = `#inputs=${encodeURIComponent(JSON.stringify(instance))}`;
});
language.addEventListener("change", write);
document.getElementById("copy").addEventListener("click", () => {
  getSelection().selectAllChildren(line);
  document.execCommand("copy");
});
// Only on localhost or over HTTPS; elsewhere the address bar has the link.
link.addEventListener("click", () => navigator.clipboard?.writeText(link.href));
