// The view of what is not searchable, and why.

import * as api from "./api.js";
import { counted, find, make, sentence, tell } from "./dom.js";

let next = null; // where the list goes on, or null

/**
 * Shows it anew.
 *
 * @param library The library's state, whose failures are shown where the server has no more to say.
 */
export async function showUnsearchable(library) {
  const { files, kinds, next: following } = await asked(0, library);
  find("missing-kinds").replaceChildren(...kinds.map(kindRow));
  find("missing-kinds-part").hidden = !kinds.length;
  find("missing-files").replaceChildren(...files.map(fileRow));
  find("missing-files-part").hidden = !files.length;
  const isEmpty = !files.length && !kinds.length && find("missing-problem").hidden;
  find("missing-status").textContent = isEmpty ? "Everything in the folder is searchable." : "";
  goOn(following);
}

export function listenToUnsearchable() {
  find("missing-more").addEventListener("click", async () => {
    const { files, next: following } = await asked(next, null);
    const rows = files.map(fileRow);
    find("missing-files").append(...rows);
    rows[0]?.focus();
    goOn(following);
  });
}

function goOn(following) {
  next = following;
  find("missing-more").hidden = next === null;
}

async function asked(offset, library) {
  tell(find("missing-problem"), "");
  if (library && !library.unsearchable) return { files: library.failed, kinds: [], next: null };
  try {
    return await api.unsearchable(offset);
  } catch (error) {
    tell(find("missing-problem"), sentence(error.message));
    return { files: [], kinds: [], next };
  }
}

/** How much is not searchable, as a line; "" where everything is. */
export function missingLine({ unsearchable, failed }) {
  const { files, partly, other_kinds: others } = unsearchable ?? { files: failed.length, partly: 0, other_kinds: 0 };
  const said = [[files, "not searchable"], [partly, "only in part"], [others, "of kinds that are not read"]];
  return said.filter(([number]) => number).map(([number, how]) => `${counted(number, "file")} ${how}`).join(", ");
}

const kindRow = ({ kind, count, advice }) => make("li", {}, make("strong", {}, kind),
  ` ${counted(count, "file")}${advice ? `: ${advice}` : ""}`);

const fileRow = ({ file, reason, part }) => make("li", { tabIndex: -1 }, make("strong", { dir: "auto" }, file),
  part ? make("span", { className: "part" }, ` without ${part}`) : null, make("p", {}, sentence(reason)));
