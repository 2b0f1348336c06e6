// One REST operation, drawn from a mix of reads and writes.

import { check } from 'k6';
import http from 'k6/http';

import { oneOf, weighted } from './draw.js';
import { errors } from './figures.js';
import { BASE } from './settings.js';
import { tokenOf } from './tokens.js';
import { someEvent, somePerson, somePost, somebody } from './world.js';

const REACTIONS = ['heart', 'like', 'celebrate', 'laugh', 'support'];

// `cached` are answers about one thing, which nodes keep; `uncached` are lists and all that changes
// something.
const ask = (method, path, route, kind, token, body, status) => {
  const params = {
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    tags: { kind, name: `${method} ${route}` },
    timeout: '30s',
  };
  const text = body === undefined ? null : JSON.stringify(body);
  const answer = http.request(method, `${BASE}${path}`, text, params);
  const is = { [`${method} ${route} is answered`]: (answer) => answer.status === status };
  errors.add(!check(answer, is));
  return answer;
};

const get = (path, route, kind) => (world, token) =>
  ask('GET', path(world), route, kind, token, undefined, 200);

const post = (path, route, body, status) => (world, token) =>
  ask('POST', path(world), route, 'uncached', token, body(), status);

// The first page of the feed, and of every third reader the next one.
const feed = (token) => {
  const answer = ask('GET', '/api/posts?limit=20', '/api/posts', 'uncached', token, undefined, 200);
  const cursor = answer.status === 200 ? answer.json('nextCursor') : null;
  if (cursor && Math.random() < 1 / 3) {
    const path = `/api/posts?limit=20&cursor=${encodeURIComponent(cursor)}`;
    ask('GET', path, '/api/posts', 'uncached', token, undefined, 200);
  }
};

const MIX = [
  [22, get((world) => `/api/events/${someEvent(world)}`, '/api/events/{id}', 'cached')],
  [18, get((world) => `/api/posts/${somePost(world)}`, '/api/posts/{id}', 'cached')],
  [20, get((world) => `/api/users/${somePerson(world)}`, '/api/users/{id}', 'cached')],
  [14, (world, token) => feed(token)],
  [8, get(() => '/api/events?limit=20', '/api/events', 'uncached')],
  [4, get((world) => `/api/events/${someEvent(world)}/attendees`, '/api/events/{id}/attendees', 'uncached')],
  [4, post(() => '/api/posts', '/api/posts', () => ({ content: `A post under load, ${Date.now()}.` }), 201)],
  [6, post(
    (world) => `/api/posts/${somePost(world)}/react`,
    '/api/posts/{id}/react',
    () => ({ reactionType: oneOf(REACTIONS) }),
    200,
  )],
  [4, post(
    (world) => `/api/events/${someEvent(world)}/rsvp`,
    '/api/events/{id}/rsvp',
    () => ({ status: oneOf(['going', 'going', 'maybe', 'declined']) }),
    200,
  )],
];

export const operation = (world) => weighted(MIX)(world, tokenOf(somebody(world)));
