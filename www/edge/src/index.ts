/** The worker: routes, who may use them, and what is answered when something goes wrong. */

import { App, Isolate } from './app.ts';
import { chat } from './chat.ts';
import { check } from './check.ts';
import type { Env, ExecutionContext } from './config.ts';
import { isPreflight, preflight, sharedWith } from './cors.ts';
import { authorise, errorResponse, HttpError, json } from './http.ts';
import { models } from './models.ts';
import { moderations } from './moderations.ts';
import { respond } from './responses.ts';

interface Route {
  method: 'GET' | 'POST';
  answer: (app: App) => Promise<Response>;
  /** Whether the caller must show the key, if there is one. */
  locked: (app: App) => boolean;
}

const always = () => true;
/** With the caller's own key upstream, the upstream says who may; with ours, we must. */
const withOurKey = (app: App) => app.config.upstreamKey !== null;
const ROUTES: Record<string, Route> = {
  '/healthz': { method: 'GET', answer: health, locked: () => false },
  '/v1/moderations': { method: 'POST', answer: judged(moderations), locked: always },
  '/v1/check': { method: 'POST', answer: judged(check), locked: always },
  '/v1/chat/completions': { method: 'POST', answer: judged(chat), locked: withOurKey },
  '/v1/responses': { method: 'POST', answer: judged(respond), locked: withOurKey },
  '/v1/models': { method: 'GET', answer: (app) => app.run(models), locked: withOurKey },
};

let isolate: Isolate | undefined;

export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    const response = await answered(request, env, context);
    const origin = isolate?.config.allowOrigin ?? null;
    return origin === null ? response : sharedWith(origin, response);
  },
};

async function answered(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
  try {
    isolate ??= new Isolate(env);
    return await answer(new App(isolate, request, env, context));
  } catch (error) {
    return errorResponse(error);
  }
}

async function answer(app: App): Promise<Response> {
  const { method, url } = app.request;
  const { pathname } = new URL(url);
  const route = Object.hasOwn(ROUTES, pathname) ? ROUTES[pathname] : undefined;
  if (!route)
    throw new HttpError(404, 'not_found', `there is nothing at ${pathname}; see the worker's README for its routes`);
  if (app.config.allowOrigin !== null && isPreflight(app.request)) return preflight(app.request, route.method);
  if (method !== route.method && !(method === 'HEAD' && route.method === 'GET')) {
    const allow = route.method === 'GET' ? 'GET, HEAD' : route.method;
    throw new HttpError(405, 'method_not_allowed', `${pathname} takes ${allow}, not ${method}`, { headers: { allow } });
  }
  if (route.locked(app)) await authorise(app.request, app.config.apiKey);
  return route.answer(app);
}

function judged(work: (app: App) => Promise<Response>): (app: App) => Promise<Response> {
  return (app) =>
    app.run(async () => {
      await app.enter('judging');
      return work(app);
    });
}

/** Says how the guard is, and leaves it as it is. */
async function health(app: App): Promise<Response> {
  const status = app.holder.state;
  return json({ status }, status === 'failed' ? 503 : 200);
}
