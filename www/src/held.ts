/** Answers that are held back until they are judged, for whoever stands between a model and its reader. */

export { type Ends, refusalEvents, relay } from './api/relay.ts';
export { responses } from './api/responses.ts';
export { type LaneFrame, Sight, type StreamEvent, type StreamReader } from './api/shape.ts';
export { readEvents, writeEvent } from './api/sse.ts';
export { judgeAnswer } from './api/whole.ts';
export { asking, isBlocked, Judge } from './held/judge.ts';
export { type Frame, Lane, type Part, type Said } from './held/lane.ts';
export { Passed } from './held/passed.ts';
export type { Watch } from './held/text.ts';
export { plainly } from './held/whole.ts';
