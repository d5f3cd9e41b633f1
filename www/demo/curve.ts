/** The risk curve: the score of each check over the characters that it knew, and the score from which a category applies. */

import type { Verdict } from '../src/index.ts';
import { byId } from './dom.ts';

/** A check as the curve has it. */
interface Point {
  /** Characters of the answer that had come. */
  seen: number;
  /** In [0, 1]: the score of the category that is nearest to applying, or furthest beyond. */
  score: number;
  /** The score from which that category applies; absent where a rule decided. */
  threshold?: number;
  flagged: boolean;
}

/** The least width of the picture in characters, so that a first check does not stand at its end. */
const LEAST_SPAN = 240;
/** Percent of the picture's height above a score of 1 and below 0, where points have their other half. */
const MARGIN = 4;

const svg = byId<SVGSVGElement>('curve');
let points: Point[] = [];

export function clearCurve(): void {
  points = [];
  draw();
}

/** Adds a check. */
export function addCheck(seen: number, verdict: Verdict): void {
  const [leading] = [...verdict.categories].sort((a, b) => b.score - b.threshold - (a.score - a.threshold));
  const { score, threshold } = leading ?? { score: verdict.score, threshold: undefined };
  points.push({ seen, score, flagged: verdict.flagged, ...(threshold !== undefined && { threshold }) });
  draw();
}

function draw(): void {
  const span = Math.max(LEAST_SPAN, points.at(-1)?.seen ?? 0);
  const x = ({ seen }: Point) => ((100 * seen) / span).toFixed(2);
  const y = (score: number) => (100 - MARGIN - (100 - 2 * MARGIN) * score).toFixed(2);
  const line = points.map((point, i) => `${i === 0 ? 'M' : 'L'}${x(point)} ${y(point.score)}`).join('');
  // Each check has its own threshold, which holds from the check before.
  const steps = points.flatMap((point, i) => {
    if (point.threshold === undefined) return [];
    const from = points[i - 1];
    return `M${from ? x(from) : 0} ${y(point.threshold)}H${i === points.length - 1 ? 100 : x(point)}`;
  });
  svg.replaceChildren(
    path('frame', `M0 ${y(0)}H100M0 ${y(1)}H100`),
    path('limit', steps.join('')),
    path('line', line),
    // A line of no length with round ends is a point that stays round at any width.
    ...points.map((point) => path(point.flagged ? 'point over' : 'point', `M${x(point)} ${y(point.score)}h0`)),
  );
  svg.setAttribute('aria-label', inWords());
  byId('curve-span').textContent = points.length === 0 ? 'no check yet' : `${span} characters`;
  const limit = points.at(-1)?.threshold;
  byId('curve-limit').textContent =
    `the score from which a category applies${limit === undefined ? '' : `: ${limit.toFixed(2)}`}`;
}

function inWords(): string {
  const last = points.at(-1);
  if (!last) return 'Risk curve: no check yet.';
  const applies = last.threshold === undefined ? '' : ` A category applies from ${last.threshold.toFixed(2)}.`;
  const checks = points.length === 1 ? '1 check' : `${points.length} checks`;
  return `Risk curve: ${checks}. The last, at ${last.seen} characters, has a score of ${last.score.toFixed(2)}.${applies}`;
}

function path(className: string, d: string): SVGPathElement {
  const element = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  element.setAttribute('class', className);
  element.setAttribute('d', d);
  return element;
}
