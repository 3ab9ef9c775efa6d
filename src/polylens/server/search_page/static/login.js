// A server with keys asks for one. It is kept as long as the tab, and goes with every question; in exchange for it the
// server sets a cookie, which opens nothing but pictures and downloads: those are loaded by their address alone.

import { find, sentence, tell } from "./dom.js";

const STORED = "polylens-key";

let asking = null; // the promise of a key, while the dialog is open

/** Resolves once the server lets this page in: at once, unless it asks for a key. */
export async function enter() {
  const response = await fetch("/library/login").catch(() => null); // the first question will say what is wrong
  const { needed } = response?.ok ? await response.json() : { needed: false };
  if (!needed) return;
  const stored = sessionStorage.getItem(STORED);
  if (!stored || (await refusal(stored))) await askForKey();
}

/** The options of a request, with the key if there is one. */
export function authorized(options = {}) {
  const key = sessionStorage.getItem(STORED);
  return key ? { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } } : options;
}

/** Whether requests of this page carry a key. */
export const hasKey = () => sessionStorage.getItem(STORED) !== null;

/** Shows the dialog until a key is accepted. */
export function askForKey() {
  asking ??= new Promise((resolve) => show(resolve));
  return asking;
}

function show(resolve) {
  const dialog = find("login");
  const field = find("key");
  sessionStorage.removeItem(STORED);
  tell(find("login-problem"), "");
  dialog.oncancel = (event) => event.preventDefault(); // there is nothing to see without a key
  find("login-form").onsubmit = async (event) => {
    event.preventDefault();
    const key = field.value.trim();
    const problem = await refusal(key);
    if (problem) {
      tell(find("login-problem"), sentence(problem));
      field.select();
      return;
    }
    sessionStorage.setItem(STORED, key);
    field.value = "";
    asking = null;
    dialog.close();
    resolve();
  };
  dialog.showModal();
  field.focus();
}

/** Hands a key in; why it was refused, or "". */
async function refusal(key) {
  if (!key) return "Type a key.";
  if (/[^\x21-\x7e]/.test(key)) return "A key has letters, digits, - and _ only.";
  try {
    const response = await fetch("/library/login", { method: "POST", headers: { Authorization: `Bearer ${key}` } });
    if (response.ok) return "";
    const { detail } = await response.json();
    return detail;
  } catch {
    return "The server does not answer. Is it still running?";
  }
}
