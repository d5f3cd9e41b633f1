import 'rsafe/worker';
