// Load on a community that is filled: `cargo xtask k6 SUITE`, or `k6 run main.js` with the variables of
// settings.js.

import { FAMILIES, compareMetrics, readMetrics } from './node_metrics.js';
import { EXPECTED_OPERATIONS, scenarios } from './profiles.js';
import { operation } from './rest.js';
import { CACHE_HIT_RATE, METRICS, RATE, SOCKETS } from './settings.js';
import { visit } from './sockets.js';
export { handleSummary } from './summary.js';
import { findWorld } from './world.js';

const thresholds = {
  checks: ['rate>0.99'],
  errors: ['rate<0.01'],
  dropped_iterations: ['count==0'],
};
if (RATE > 0) {
  thresholds['http_req_duration{kind:cached}'] = ['p(95)<100'];
  thresholds['http_req_duration{kind:uncached}'] = ['p(95)<500'];
  // A run in which little happened shows nothing.
  thresholds['iterations{scenario:rest}'] = [`count>=${Math.floor(0.9 * EXPECTED_OPERATIONS)}`];
}
if (SOCKETS > 0) {
  thresholds.socket_ready = ['p(95)<500'];
  thresholds.socket_rpc = ['p(95)<500'];
  thresholds.socket_recovered = ['rate>0.99'];
  thresholds.socket_cut_by_server = ['count==0'];
  thresholds['iterations{scenario:sockets}'] = [`count>=${SOCKETS}`];
}
if (METRICS.length > 0) {
  if (CACHE_HIT_RATE > 0) thresholds.cache_hit_rate = [`value>=${CACHE_HIT_RATE}`];
  for (const family of FAMILIES) {
    thresholds[`fullest_bucket{family:${family}}`] = ['value<=0.9'];
    thresholds[`above_last_bucket{family:${family}}`] = ['value<=0.1'];
  }
}

export const options = {
  scenarios,
  thresholds,
  summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max', 'count'],
  setupTimeout: '5m',
  teardownTimeout: '1m',
  discardResponseBodies: false,
  userAgent: 'mundotango-k6',
};

export const setup = () => {
  // Before the look around, which nothing is cached for: what it costs counts too.
  const before = readMetrics();
  return { world: findWorld(), before };
};

export const rest = ({ world }) => operation(world);

export const socket = ({ world }) => visit(world);

export const teardown = ({ before }) => compareMetrics(before, readMetrics());
