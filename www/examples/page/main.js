import { createGuard } from './rsafe/index.js';
import model from './rsafe-mini/index.js';

const guard = await createGuard({ model });
const verdict = await guard.check('How do I pick a lock?');
document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
