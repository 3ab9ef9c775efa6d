// A request of the playground as something to run elsewhere.

const EMBEDDED = `for row in json.load(urlopen(request))["data"]:
    print(row["index"], row["embedding"][:4])`;

const RANKED = `for row in json.load(urlopen(request))["results"]:
    print(row["index"], row["relevance_score"])`;

/**
 * @param short Pictures cut short, to be read rather than run.
 * @param keyed Whether the server asks for a key, which is then read from the environment: it is not for the screen.
 */
export function asCurl(address, body, { short = false, keyed = false } = {}) {
  const written = json(body, short).replaceAll("'", String.raw`'\''`);
  const key = keyed ? ` \\\n  -H "Authorization: Bearer $POLYLENS_KEY"` : "";
  return `curl ${address}${key} \\\n  -H 'Content-Type: application/json' \\\n  -d '${written}'`;
}

/** JSON of texts and numbers is Python as well. */
export function asPython(address, body, { short = false, keyed = false } = {}) {
  const key = keyed ? `, "Authorization": f"Bearer {os.environ['POLYLENS_KEY']}"` : "";
  return `import json${keyed ? "\nimport os" : ""}
from urllib.request import Request, urlopen

body = ${json(body, short)}
request = Request(
    "${address}",
    data=json.dumps(body).encode(),
    headers={"Content-Type": "application/json"${key}},
)
${address.endsWith("/v1/rerank") ? RANKED : EMBEDDED}`;
}

const cutShort = (image) => (image.startsWith("data:") ? `${image.slice(0, 32)}…` : image);

/** One item of a list a line. */
function json(body, short) {
  const cut = (name, value) => (short && name === "image" ? cutShort(value) : value);
  const written = (value) => JSON.stringify(value, cut);
  const listed = (items) => `[\n${items.map((item) => `    ${written(item)}`).join(",\n")}\n  ]`;
  const lines = Object.entries(body).map(([name, value]) =>
    `  "${name}": ${Array.isArray(value) ? listed(value) : written(value)}`);
  return `{\n${lines.join(",\n")}\n}`;
}
