// A colour for each element: near to what chemists expect of the common ones, apart from its neighbours for the rest.

import type { Rgb } from "./scene";

const COMMON: Record<string, string> = {
  H: "e8e8ea", B: "f2b5a7", C: "5b5f66", N: "3f63d6", O: "d8322f", F: "8fd06a", P: "ee8b2c", S: "e9c63b", Cl: "49b64c",
  Br: "96412d", I: "7b3f96", Si: "d9b98a", Li: "a56bd6", Na: "8b5bd0", K: "7d44c4", Mg: "6fb74a", Ca: "58a84e",
  Al: "a9aebd", Ti: "a7adb5", Fe: "c9662f", Co: "d0708f", Ni: "58b26a", Cu: "c47b3c", Zn: "7f86b8", Ag: "b9bcc4", Au: "e0b02f",
};

export function colourOf(element: string): Rgb {
  const hex = COMMON[element];
  if (hex) return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255) as Rgb;
  const seed = [...element].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7);
  return fromHue((seed * 0.618034) % 1);
}

// A calm colour of that hue.
function fromHue(hue: number): Rgb {
  const channel = (n: number): number => {
    const k = (n + hue * 12) % 12;
    return 0.6 - 0.22 * Math.max(-1, Math.min(k - 3, 9 - k, 1));
  };
  return [channel(0), channel(8), channel(4)];
}

export function css(colour: Rgb): string {
  return `rgb(${colour.map((x) => Math.round(255 * x)).join(" ")})`;
}
