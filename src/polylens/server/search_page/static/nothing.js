// Where nothing was found: what one can do about it.

import { find, make } from "./dom.js";
import { numFilters, WITHOUT_FILTERS } from "./state.js";

/**
 * @param found What `finding` has.
 * @param failure Whether the server could not answer; then there is nothing to advise.
 * @param go Called with what changes of the state.
 */
export function showNothing(found, state, failure, go) {
  const isEmpty = found !== null && !found.results.length && !failure;
  find("nothing").hidden = !isEmpty;
  if (!isEmpty) return;
  const steps = [];
  const offer = (label, changes) => {
    const button = make("button", { type: "button", className: "button" }, label);
    button.addEventListener("click", () => {
      go(changes);
      find("q").focus(); // the button goes away
    });
    steps.push(button);
  };
  if (state.good) offer("Show weaker matches too", { good: false });
  if (numFilters(state)) offer("Remove the filters", WITHOUT_FILTERS);
  if (state.by !== "fused") offer("Rank by all together", { by: "fused" });
  find("nothing-title").textContent = state.good ? "Nothing fits well" : "Nothing was found";
  find("nothing-steps").replaceChildren(...steps);
}
