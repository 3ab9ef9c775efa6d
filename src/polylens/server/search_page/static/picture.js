// Pictures that come from outside: by a file button, by dropping, by pasting, by their addresses.

import { find } from "./dom.js";

const LONGEST_SIDE = 1536; // pixels; models look at fewer

/** A picture file as a data address, upright, of moderate size, in a format that every server reads. */
export async function readPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name || "What came"} is not a picture that this browser can read.`);
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white"; // where it is transparent
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

/** The addresses among the lines of a text, and the other lines that are not empty. */
export function addressesIn(text) {
  const lines = text.split(/\s*\n\s*/).map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  const isAddress = (line) => /^(https?:\/\/\S+|data:image\/\S+)$/i.test(line);
  return { addresses: lines.filter(isAddress), others: lines.filter((line) => !isAddress(line)) };
}

/**
 * Calls back with what is dropped anywhere or pasted.
 *
 * @param received Called with the files.
 * @param takesAddresses Whether addresses of pictures are taken now; a text otherwise goes where the cursor is.
 * @param receivedAddresses Called with those.
 */
export function watchForPictures(received, takesAddresses, receivedAddresses) {
  const cover = find("drop");
  const isWritten = (event) => event.target.closest?.("input, textarea") !== null;
  const bringsAddresses = (event) =>
    takesAddresses() && !isWritten(event) && event.dataTransfer?.types.includes("text/uri-list");
  const brings = (event) => event.dataTransfer?.types.includes("Files") || bringsAddresses(event);
  document.addEventListener("dragover", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    cover.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) cover.hidden = true; // it left the window, not just an element in it
  });
  document.addEventListener("drop", (event) => {
    if (!brings(event)) return;
    event.preventDefault();
    cover.hidden = true;
    const files = [...event.dataTransfer.files];
    if (files.length) return received(files);
    receivedAddresses(addressesIn(event.dataTransfer.getData("text/uri-list")).addresses);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      return received(files);
    }
    if (!takesAddresses() || isWritten(event)) return; // a text goes where the cursor is
    const { addresses, others } = addressesIn(event.clipboardData?.getData("text/plain") ?? "");
    if (addresses.length && !others.length) receivedAddresses(addresses);
  });
}
