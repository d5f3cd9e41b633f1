/** Draws the page's icon as PNG from its SVG, the same bytes each time. Knows filled paths of `M`, `L`, `C` and `Z` in
 * absolute coordinates on a square view box, which is all that the icon is made of. */

import { crc32, deflateSync } from 'node:zlib';

const CURVE_STEPS = 24;
/** Samples a pixel's side, for smooth edges. */
const SAMPLES = 4;

/** @returns {Buffer} the PNG of `svg` at `size` × `size` pixels */
export function png(svg, size) {
  const view = Number(/viewBox="0 0 (\d+)/.exec(svg)?.[1]);
  const pixels = new Float64Array(size * size * 4);
  for (const [, colour, data] of svg.matchAll(/<path fill="#([0-9a-f]{6})" d="([^"]+)"/g)) {
    const rgb = [0, 2, 4].map((at) => parseInt(colour.slice(at, at + 2), 16));
    paint(
      pixels,
      size,
      outline(data).map(([x, y]) => [(x * size) / view, (y * size) / view]),
      rgb,
    );
  }
  return encode(pixels, size);
}

/** The path as one polygon. */
function outline(data) {
  const points = [];
  for (const [, command, list] of data.matchAll(/([MLCZ])([^MLCZ]*)/g)) {
    const n = (list.match(/-?[\d.]+/g) ?? []).map(Number);
    if (command === 'C') {
      const [from] = points.slice(-1);
      for (let step = 1; step <= CURVE_STEPS; step++) {
        const t = step / CURVE_STEPS;
        const weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t ** 2 * (1 - t), t ** 3];
        points.push(
          [0, 1].map((axis) =>
            [from[axis], n[axis], n[axis + 2], n[axis + 4]].reduce((sum, value, i) => sum + value * weights[i], 0),
          ),
        );
      }
    } else if (n.length > 0) {
      points.push(n);
    }
  }
  return points;
}

/** Lays the polygon over `pixels` (RGBA, straight alpha), scan line by scan line. */
function paint(pixels, size, polygon, rgb) {
  const cover = new Float64Array(size * size);
  for (let row = 0; row < size * SAMPLES; row++) {
    const y = (row + 0.5) / SAMPLES;
    const crossings = [];
    polygon.forEach(([x1, y1], i) => {
      const [x2, y2] = polygon[(i + 1) % polygon.length];
      if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const to = Math.min(size * SAMPLES, Math.ceil(crossings[i + 1] * SAMPLES - 0.5));
      for (let x = Math.max(0, Math.ceil(crossings[i] * SAMPLES - 0.5)); x < to; x++) {
        cover[Math.floor(row / SAMPLES) * size + Math.floor(x / SAMPLES)] += 1 / SAMPLES ** 2;
      }
    }
  }
  cover.forEach((alpha, at) => {
    if (alpha === 0) return;
    const under = pixels[at * 4 + 3];
    const over = alpha + under * (1 - alpha);
    for (let c = 0; c < 3; c++) pixels[at * 4 + c] = (rgb[c] * alpha + pixels[at * 4 + c] * under * (1 - alpha)) / over;
    pixels[at * 4 + 3] = over;
  });
}

function encode(pixels, size) {
  const rows = Buffer.alloc(size * (size * 4 + 1));
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = (y * size + x) * 4;
      const to = y * (size * 4 + 1) + 1 + x * 4;
      for (let c = 0; c < 3; c++) rows[to + c] = Math.round(pixels[at + c]);
      rows[to + 3] = Math.round(pixels[at + 3] * 255);
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 6, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), out.length - 4);
  return out;
}
