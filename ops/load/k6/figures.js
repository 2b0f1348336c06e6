// Figures of the project's own, beside those that k6 keeps by itself.

import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

// Operations of any kind that were not answered as they should.
export const errors = new Rate('errors');
// From the begin of a WebSocket until all its subscriptions stand.
export const socketReady = new Trend('socket_ready', true);
// From an RPC until its answer.
export const socketRpc = new Trend('socket_rpc', true);
// From an RPC that writes a post until the post comes by the subscription to the feed.
export const socketDelivery = new Trend('socket_delivery', true);
// Of subscriptions that were cut and came back, those that missed nothing.
export const recovered = new Rate('socket_recovered');
export const publications = new Counter('socket_publications');
// Sockets that the server ended.
export const cutByServer = new Counter('socket_cut_by_server');
// The share of reads that the nodes' cache answered during the run.
export const cacheHitRate = new Gauge('cache_hit_rate');
// Of a family of the nodes' histograms: the share of observations in its fullest bucket, and above its last
// finite one.
export const fullestBucket = new Gauge('fullest_bucket');
export const aboveLastBucket = new Gauge('above_last_bucket');
