/** Starts the page: each room wires its own part. */

import { showStorage, startBundle } from './bundle.ts';
import { startConversation } from './conversation.ts';
import { startLive } from './live.ts';
import { onLoaded, startLoading, webgpuLater } from './loading.ts';
import { keepForOffline, startOffline } from './offline.ts';
import { setModelPolicy, startPolicy } from './policy.ts';
import { showNothingYet } from './verdict.ts';

showNothingYet();
startLive();
startConversation();
startPolicy();
startBundle();
startOffline();

let kept = false;
onLoaded((guard) => {
  if (guard) setModelPolicy(guard.policy);
  if (kept || webgpuLater) return;
  kept = true;
  void keepForOffline().then(showStorage);
});
startLoading();
