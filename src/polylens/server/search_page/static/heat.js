// Where on a page the words of a query find their match, as a map of heat over its picture.

// From nothing over amber to a deep red. The page stays readable below the strongest spot.
const COLD = [255, 196, 0];
const HOT = [196, 22, 58];
const MOST_OPAQUE = 0.68;

/**
 * Draws on a canvas that lies over the picture.
 *
 * @param answer The server's: rows, columns, the words, and the heat of the whole query.
 * @param choice "whole", or the number of a word.
 * @returns The same in words, for people who do not see it.
 */
export function paint(canvas, answer, choice) {
  const heat = choice === "whole" ? answer.whole : answer.words[choice].heat;
  canvas.width = answer.columns;
  canvas.height = answer.rows; // one pixel a patch; the browser makes it smooth
  const picture = new ImageData(answer.columns, answer.rows);
  heat.forEach((value, patch) => picture.data.set(colour(value), 4 * patch));
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const described = `${nameOf(answer, choice)}: strongest at the ${whereabouts(answer, heat)}`;
  canvas.dataset.choice = choice;
  canvas.setAttribute("aria-label", `Heat map, ${described}`);
  return described;
}

const nameOf = (answer, choice) => (choice === "whole" ? "Whole query" : answer.words[choice].text);

function colour(value) {
  const mixed = COLD.map((cold, channel) => cold + (HOT[channel] - cold) * value);
  return [...mixed, 255 * MOST_OPAQUE * value ** 1.5];
}

function whereabouts({ rows, columns }, heat) {
  const peak = heat.indexOf(Math.max(...heat));
  const row = ["top", "middle", "bottom"][Math.floor((3 * Math.floor(peak / columns)) / rows)];
  const column = ["left", "centre", "right"][Math.floor((3 * (peak % columns)) / columns)];
  return `${row} ${column}`;
}
