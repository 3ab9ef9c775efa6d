// A cut-out of a page's picture at the place that matched, large enough to be read, with the matches marked.

import * as api from "./api.js";
import { make } from "./dom.js";
import { marksOf } from "./marks.js";

const READABLE = 7.5; // CSS pixels a letter
const CLOSEST = 2.4; // times the width at which the whole page is seen; closer, a place has no surroundings
const AT_LOOKS = 1.4; // times, where no letters say how close
const WITHOUT_MARGINS = 1.15; // times, where nothing says where to look
const TOP_MARGIN = 0.035; // of a page's height
const MOST_CUT_OFF = 0.4; // of a picture that is to be recognised, not read
const STEP = 160; // pixels between two widths that are asked for, so that the same picture serves again
const WIDE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/gu; // twice as wide as others

/**
 * @param hit A result with a picture.
 * @param width Of the cut-out, in CSS pixels; its height is for the style sheet to say.
 */
export function crop(hit, width) {
  const places = hit.places ?? [];
  const image = make("img", { alt: "", loading: "lazy", decoding: "async" }); // the link beside it says what it is
  const sheet = make("div", { className: "cut" }, image, marksOf(places, hit.places_from ?? "words"));
  const window = make("div", { className: "crop" }, sheet);
  const zoom = zoomOf(hit, width);
  const settle = () => place(window, sheet, { ...hit, places }, zoom, image.naturalWidth / image.naturalHeight);
  image.addEventListener("load", () => new ResizeObserver(settle).observe(window), { once: true }); // at once, and again
  const pixels = width * zoom * Math.min(2, devicePixelRatio || 1);
  image.src = api.pageAddress(hit.file, hit.page, STEP * Math.ceil(pixels / STEP));
  return window;
}

/** How close to look: so close that the letters that match can be read. */
export function zoomOf({ places, places_from: from, kind, text }, width) {
  const letters = (places ?? []).filter((each) => each.text).map((each) => each.width / lengthOf(each.text));
  if (from === "words" && letters.length) {
    const letter = letters.sort((one, other) => one - other)[letters.length >> 1];
    return Math.min(CLOSEST, Math.max(1, READABLE / (letter * width)));
  }
  if (kind === "image" && !text) return 1;
  return places?.length ? AT_LOOKS : WITHOUT_MARGINS;
}

const lengthOf = (text) => text.length + (text.match(WIDE)?.length ?? 0);

/**
 * The part of the page that is shown, in shares of it: around the best place, with as many of the next as fit.
 *
 * @param size { width, height } of the part.
 */
export function partAround(places, { width, height }) {
  let around = null;
  for (const { left, top, width: wide, height: high } of places) {
    const wider = {
      left: Math.min(left, around?.left ?? left),
      top: Math.min(top, around?.top ?? top),
      right: Math.max(left + wide, around?.right ?? 0),
      bottom: Math.max(top + high, around?.bottom ?? 0),
    };
    if (around && (wider.right - wider.left > width || wider.bottom - wider.top > height)) continue;
    around = wider;
  }
  const within = (middle, extent) => Math.min(1 - extent, Math.max(0, middle - extent / 2));
  if (!around) return { left: within(0.5, width), top: Math.min(TOP_MARGIN, Math.max(0, 1 - height)) };
  return { left: within((around.left + around.right) / 2, width), top: within((around.top + around.bottom) / 2, height) };
}

function place(window, sheet, { places, kind, text }, zoom, ratio) {
  const shape = window.clientWidth / window.clientHeight || 2;
  const closer = Math.max(zoom, ratio / shape); // no field beside or below the picture
  const part = { width: 1 / closer, height: ratio / shape / closer };
  if (kind === "image" && !text && part.height < 1 - MOST_CUT_OFF) return showWhole(window, sheet);
  const { left, top } = kind === "image" && !text && !places.length
    ? partAround([{ left: 0.5, top: 0.5, width: 0, height: 0 }], part) : partAround(places, part);
  sheet.style.setProperty("width", `${100 * closer}%`);
  sheet.style.setProperty("left", `${-100 * left * closer}%`);
  sheet.style.setProperty("top", `${(-100 * top) / part.height}%`);
  sheet.classList.add("placed");
}

/** A tall picture, whole, on itself: cut to the shape of a line, it would not be recognised. */
function showWhole(window, sheet) {
  if (window.classList.contains("whole")) return;
  window.prepend(make("img", { className: "backdrop", alt: "", src: sheet.querySelector("img").src }));
  window.classList.add("whole");
  sheet.classList.add("placed");
}
