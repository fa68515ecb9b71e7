// Sends the form's values to the service and shows what it answers.
const form = document.getElementById("inputs");
const result = document.getElementById("result");
const problem = document.getElementById("problem");
const table = document.getElementById("probabilities");

function showPrediction({ predictions, probabilities }, milliseconds) {
  document.getElementById("prediction").value = predictions[0];
  document.getElementById("latency").textContent = milliseconds.toFixed(1);
  const classes = Object.entries(probabilities?.[0] ?? {});
  table.hidden = classes.length === 0;
  table.tBodies[0].replaceChildren(...classes.map(probabilityRow));
  result.hidden = false;
}

function probabilityRow([name, probability]) {
  const row = document.createElement("tr");
  const heading = document.createElement("th");
  heading.scope = "row";
  heading.textContent = name;
  const meter = document.createElement("meter");
  meter.value = probability;
  row.append(heading);
  row.insertCell().append(meter);
  row.insertCell().append(`${(probability * 100).toFixed(1)} %`);
  return row;
}

function showProblem(text) {
  problem.textContent = text;
  problem.hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  result.hidden = problem.hidden = true;
  const values = [...new FormData(form)].map(([name, value]) => [name, Number(value)]);
  const started = performance.now();
  try {
    const response = await fetch(form.dataset.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ instances: [Object.fromEntries(values)] }),
    });
    const answer = await response.json();
    if (response.ok) {
      showPrediction(answer, performance.now() - started);
    } else {
      showProblem(answer.detail);
    }
  } catch {
    showProblem("The service did not answer.");
  }
});
