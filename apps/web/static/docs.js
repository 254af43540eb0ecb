// Shows openapi.json as text: each call with its parameters and a command to try it.
import { element, getJson } from "./common.js";

const description = await getJson("../openapi.json");
const base = new URL("..", location.href).href.replace(/\/$/, "");
const examples = {
  "/api/captioning": "--data-binary @photo.jpg",
  "/api/forecasting": "--data-binary @AAPL.csv",
};

function commandOf(path, method, call) {
  const json = call.requestBody?.content["application/json"];
  if (!json) return `curl ${examples[path] ?? ""} ${base}${path}`.replace(/ +/g, " ");
  const name = json.schema.$ref.split("/").at(-1);
  const example = JSON.stringify(description.components.schemas[name].example);
  return `curl -H "Content-Type: application/json" -d '${example.replaceAll("'", "'\\''")}' ${base}${path}`;
}

function fieldsOf(call) {
  const json = call.requestBody?.content["application/json"];
  const schema = json ? description.components.schemas[json.schema.$ref.split("/").at(-1)] : { properties: {} };
  const fields = Object.entries(schema.properties).map(([name, field]) => [name, field]);
  return [...fields, ...(call.parameters ?? []).map(({ name, schema: field }) => [name, field])];
}

for (const [path, calls] of Object.entries(description.paths)) {
  for (const [method, call] of Object.entries(calls)) {
    const section = element("div");
    section.append(element("h3", `${method.toUpperCase()} ${path}`), element("p", call.summary));
    section.append(element("pre", commandOf(path, method, call)));
    const list = element("ul");
    for (const [name, field] of fieldsOf(call)) {
      const kinds = field.anyOf ?? [field];
      const kind = kinds.map(({ type }) => type).filter((type) => type !== "null").join(" or ");
      const { minimum, maximum, description: meaning = "" } = { ...kinds[0], ...field };
      const limits = minimum === undefined ? "" : `, ${minimum} to ${maximum ?? "any"}`;
      list.append(element("li", `${name} (${kind}${limits}) ${meaning}`));
    }
    section.append(list);
    document.getElementById("calls").append(section);
  }
}
