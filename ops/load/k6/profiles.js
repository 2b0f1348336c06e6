// How each suite's load goes up and down.

import { CALLERS, DURATION, RATE, SOCKETS, SUITE } from './settings.js';

// Parts of the duration, and the share of the full load at each part's end.
const STAGES = {
  smoke: [[1, 1]],
  load: [[0.2, 1], [0.7, 1], [0.1, 0]],
  stress: [
    [0.1, 0.25], [0.15, 0.25], [0.1, 0.5], [0.15, 0.5], [0.1, 0.75], [0.15, 0.75], [0.1, 1], [0.1, 1], [0.05, 0],
  ],
  spike: [[0.1, 0.1], [0.2, 0.1], [0.05, 1], [0.3, 1], [0.05, 0.1], [0.3, 0.1]],
  soak: [[0.02, 1], [0.96, 1], [0.02, 0]],
};
const START = { smoke: 1 };

const stages = (full) => STAGES[SUITE].map(([part, share]) => ({
  duration: `${Math.max(1, Math.round(part * DURATION))}s`,
  target: Math.max(share > 0 ? 1 : 0, Math.round(share * full)),
}));

// The operations that a profile has time for.
const expected = () => {
  let [sum, from] = [0, START[SUITE] ?? 0];
  for (const [part, to] of STAGES[SUITE]) {
    sum += part * DURATION * RATE * ((from + to) / 2);
    from = to;
  }
  return sum;
};

export const EXPECTED_OPERATIONS = expected();

export const scenarios = {};
if (RATE > 0) {
  scenarios.rest = {
    executor: 'ramping-arrival-rate',
    exec: 'rest',
    startRate: Math.round(RATE * (START[SUITE] ?? 0)),
    timeUnit: '1s',
    preAllocatedVUs: CALLERS,
    maxVUs: CALLERS,
    stages: stages(RATE),
  };
}
if (SOCKETS > 0) {
  scenarios.sockets = {
    executor: 'ramping-vus',
    exec: 'socket',
    startVUs: Math.round(SOCKETS * (START[SUITE] ?? 0)),
    stages: stages(SOCKETS),
    gracefulRampDown: '90s',
    gracefulStop: '90s',
  };
}
