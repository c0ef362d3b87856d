// Checks texts against schemas with ajv: each line of the file named is {schema, draft, text, accepted}. Prints a line for
// each text that is not JSON, and for each of which ajv says something else; then how many were looked at.
import { readFileSync } from "node:fs";
import Ajv7 from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const options = { strict: false, validateFormats: true, logger: false };
const validators = { 7: new Ajv7.default(options), "2020-12": new Ajv2020.default(options) };
for (const validator of Object.values(validators)) addFormats.default(validator);

const compiled = new Map();
let count = 0;
for (const line of readFileSync(process.argv[2], "utf8").split("\n")) {
  if (line === "") continue;
  const { schema, draft, text, accepted = true } = JSON.parse(line);
  const key = draft + JSON.stringify(schema);
  if (!compiled.has(key)) compiled.set(key, validators[draft].compile(schema));
  const validate = compiled.get(key);
  ++count;
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    console.log(`not JSON: ${text.slice(0, 300)}`);
    continue;
  }
  if (validate(value) !== accepted) {
    console.log(`${text.slice(0, 300)} is ${accepted ? "refused" : "accepted"} by ${JSON.stringify(schema).slice(0, 300)}: ${JSON.stringify(validate.errors).slice(0, 200)}`);
  }
}
console.log(`checked ${count}`);
