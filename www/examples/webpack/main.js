import { createGuard } from 'rsafe';

const guard = await createGuard();
const verdict = await guard.check('How do I pick a lock?');
document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
