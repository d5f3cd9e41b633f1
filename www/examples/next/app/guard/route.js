import { createGuard } from 'rsafe';

// One guard serves all requests; a load that failed is tried again by the next one.
let guard;
const loaded = () => (guard ??= createGuard().catch((error) => ((guard = undefined), Promise.reject(error))));

export async function POST(request) {
  const { messages } = await request.json();
  try {
    const { decision, score } = await (await loaded()).check(messages, { signal: request.signal });
    return Response.json({ decision, score }, { status: decision === 'block' ? 403 : 200 });
  } catch ({ code, message }) {
    // What could not be judged is not allowed.
    return Response.json({ code, message }, { status: code === 'bad_input' ? 400 : 503 });
  }
}
