// The table at the end, and a file of figures that two runs are compared by.

import { CALLERS, DURATION, RATE, SOCKETS, SUITE, SUMMARY } from './settings.js';

// Name, k6's metric, its value, and whether less or more is better.
const FIGURES = [
  ['cached p95 ms', 'http_req_duration{kind:cached}', 'p(95)', 'less'],
  ['cached p99 ms', 'http_req_duration{kind:cached}', 'p(99)', null],
  ['uncached p95 ms', 'http_req_duration{kind:uncached}', 'p(95)', 'less'],
  ['uncached p99 ms', 'http_req_duration{kind:uncached}', 'p(99)', null],
  ['socket ready p95 ms', 'socket_ready', 'p(95)', 'less'],
  ['socket rpc p95 ms', 'socket_rpc', 'p(95)', 'less'],
  ['socket delivery p95 ms', 'socket_delivery', 'p(95)', 'less'],
  ['REST operations', 'iterations{scenario:rest}', 'count', 'more'],
  ['sockets', 'iterations{scenario:sockets}', 'count', null],
  ['publications heard', 'socket_publications', 'count', null],
  ['recovered share', 'socket_recovered', 'rate', null],
  ['error share', 'errors', 'rate', null],
  ['check share', 'checks', 'rate', null],
  ['dropped iterations', 'dropped_iterations', 'count', null],
  ['cache hit rate', 'cache_hit_rate', 'value', 'more'],
];

// Why the result says more about the generator than about the server.
const refusals = (metrics) => {
  const reasons = [];
  const dropped = metrics.dropped_iterations ? metrics.dropped_iterations.values.count : 0;
  if (dropped > 0) reasons.push(`${dropped} iterations were dropped: there were too few callers (CALLERS)`);
  const most = metrics.vus ? metrics.vus.values.max : 0;
  if (RATE > 0 && most >= CALLERS + SOCKETS) {
    reasons.push(`all ${CALLERS} callers waited at the same time: raise CALLERS, or ask for less`);
  }
  return reasons;
};

export const handleSummary = ({ metrics }) => {
  const figures = {};
  for (const [name, metric, value, better] of FIGURES) {
    const found = metrics[metric] && metrics[metric].values[value];
    if (found !== undefined && found !== null) figures[name] = { value: found, better };
  }
  const failed = [];
  for (const [metric, { thresholds, values }] of Object.entries(metrics)) {
    for (const [threshold, { ok }] of Object.entries(thresholds || {})) {
      if (!ok) failed.push(`${metric}: ${threshold} does not hold: ${JSON.stringify(values)}`);
    }
  }
  const buckets = {};
  for (const [metric, { values }] of Object.entries(metrics)) {
    if (/^(fullest|above_last)_bucket\{/.test(metric) && values.value > 0) buckets[metric] = values.value;
  }
  const asked = { rate: RATE, sockets: SOCKETS, callers: CALLERS, seconds: DURATION };
  const summary = { suite: SUITE, asked, figures, buckets, failed, refused: refusals(metrics) };
  const rows = Object.entries(figures).map(([name, { value }]) => `| ${name} | ${round(value)} |`);
  const table = [`| ${SUITE} | |`, '|---|---|', ...rows].join('\n');
  return { [SUMMARY]: JSON.stringify(summary, null, 2), stdout: `\n${table}\n` };
};

const round = (value) => (Number.isInteger(value) ? value : value.toPrecision(4));
