import { createGuard } from 'rsafe';

const guard = await createGuard({ assets: '/rsafe/' });
const verdict = await guard.check('How do I pick a lock?');
document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
