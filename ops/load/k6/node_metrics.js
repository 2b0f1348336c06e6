// What the nodes say of themselves: counters and histograms, before the load and after it.

import http from 'k6/http';

import { aboveLastBucket, cacheHitRate, fullestBucket } from './figures.js';
import { CACHE_HIT_RATE, METRICS } from './settings.js';

// Histograms of latencies that a run fills.
export const FAMILIES = [
  'http_request_duration_seconds',
  'db_query_duration_seconds',
  'job_start_delay_seconds',
  'background_job_duration_seconds',
];
// Fewer observations than that say nothing about buckets.
const FEWEST = 500;

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/;

// Sums over all labels and nodes: {hits, misses, buckets: {family: {bound: count}}}.
export const readMetrics = () => {
  const sums = { hits: 0, misses: 0, buckets: {} };
  for (const url of METRICS) {
    const answer = http.get(url, { tags: { kind: 'setup' } });
    if (answer.status !== 200) throw new Error(`${url}: ${answer.status}; METRICS_URL says where metrics are`);
    for (const line of answer.body.split('\n')) {
      const [, name, labels = '', value] = LINE.exec(line) || [];
      if (name === 'cache_hits_total') sums.hits += Number(value);
      else if (name === 'cache_misses_total') sums.misses += Number(value);
      else if (name && name.endsWith('_bucket') && FAMILIES.includes(name.slice(0, -'_bucket'.length))) {
        const family = name.slice(0, -'_bucket'.length);
        const [, bound] = /(?:^|,)le="([^"]+)"/.exec(labels) || [];
        const buckets = (sums.buckets[family] = sums.buckets[family] || {});
        buckets[bound] = (buckets[bound] || 0) + Number(value);
      }
    }
  }
  return sums;
};

// Turns what was counted between two looks into figures with thresholds.
export const compareMetrics = (before, after) => {
  const hits = after.hits - before.hits;
  const reads = hits + after.misses - before.misses;
  // Nodes without engines to share have no cache, and only keep counts of reactions for a moment.
  if (CACHE_HIT_RATE > 0 && reads > 0) cacheHitRate.add(hits / reads);
  for (const family of FAMILIES) {
    const shares = sharesOf(before.buckets[family] || {}, after.buckets[family] || {});
    if (shares) {
      fullestBucket.add(shares.fullest, { family });
      aboveLastBucket.add(shares.above, { family });
    }
  }
};

const sharesOf = (before, after) => {
  const order = (bound) => (bound === '+Inf' ? Infinity : Number(bound));
  const bounds = Object.keys(after).sort((a, b) => order(a) - order(b));
  const upTo = bounds.map((bound) => after[bound] - (before[bound] || 0));
  const all = upTo[upTo.length - 1] || 0;
  if (all < FEWEST) return null;
  const each = upTo.map((count, index) => count - (index > 0 ? upTo[index - 1] : 0));
  return { fullest: Math.max(...each) / all, above: each[each.length - 1] / all };
};
