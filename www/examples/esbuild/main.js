import { createGuard } from 'rsafe';

const worker = () => new Worker('/guard-worker.js', { type: 'module' });
const guard = await createGuard({ worker, assets: '/rsafe/' });
const verdict = await guard.check('How do I pick a lock?');
document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
