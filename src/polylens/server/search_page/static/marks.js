// Marks on the picture of a page, where it matches what was looked for.

import { make } from "./dom.js";

/**
 * An element that covers a picture and has a mark for each place.
 *
 * @param places In shares of the picture: { left, top, width, height }.
 * @param from "words" are marked as with a pen; "looks" get a frame, for they only surround what matches.
 */
export function marksOf(places, from) {
  return make("div", { className: `marks of-${from}`, "aria-hidden": "true" }, ...places.map((place) => {
    const mark = make("span");
    for (const side of ["left", "top", "width", "height"]) mark.style.setProperty(side, `${100 * place[side]}%`);
    return mark;
  }));
}
