/** Answers that are held back until they are judged, for whoever stands between a model and its reader. */

export { readEvents, writeEvent } from './api/sse.ts';
export { type Frame, Lane, type Part, type Said } from './held/lane.ts';
export type { Watch } from './held/text.ts';
