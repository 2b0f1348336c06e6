// What there is to read: events, posts and people, found once before the load begins.

import http from 'k6/http';

import { popular, shuffled } from './draw.js';
import { BASE, SECRET } from './settings.js';
import { logIn, sign } from './tokens.js';

// Pages of 100 that are looked at of each list.
const PAGES = 20;
// Events whose guests are looked at, to know more people.
const GUEST_LISTS = 50;
// Fewest of each: a mix over less says nothing.
const FEWEST = 4;

const get = (path, token) => {
  const params = { headers: { authorization: `Bearer ${token}` }, tags: { kind: 'setup' } };
  const answer = http.get(`${BASE}${path}`, params);
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.body}`);
  return answer.json();
};

const list = (path, token, pages) => {
  const items = [];
  let cursor = null;
  for (let page = 0; page < pages && (page === 0 || cursor); page += 1) {
    const answer = get(`${path}?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, token);
    items.push(...answer.items);
    cursor = answer.nextCursor;
  }
  return items;
};

export const findWorld = () => {
  const loggedIn = SECRET ? [] : logIn();
  const token = SECRET ? sign('k6') : loggedIn[0].token;
  const events = list('/api/events', token, PAGES);
  const posts = list('/api/posts', token, PAGES);
  const people = new Set();
  events.forEach((event) => event.host && people.add(event.host.id));
  posts.forEach((post) => post.author && people.add(post.author.id));
  // The events with most answers are the popular ones.
  events.sort((a, b) => b.counts.going + b.counts.waitlisted - a.counts.going - a.counts.waitlisted);
  for (const event of events.slice(0, GUEST_LISTS)) {
    list(`/api/events/${event.id}/attendees`, token, 4).forEach((guest) => people.add(guest.userId));
  }
  const world = {
    events: events.map((event) => event.id),
    posts: shuffled(posts.map((post) => post.id)),
    people: shuffled([...people]),
    loggedIn,
  };
  for (const what of ['events', 'posts', 'people']) {
    if (world[what].length < FEWEST) {
      throw new Error(`the server has ${world[what].length} ${what}: fill it first (mundotango seed)`);
    }
  }
  return world;
};

// Somebody who acts; anybody may, popular or not.
export const somebody = (world) => {
  const known = world.loggedIn.length > 0 ? world.loggedIn : world.people;
  const one = known[Math.floor(Math.random() * known.length)];
  return typeof one === 'string' ? { id: one } : one;
};

export const someEvent = (world) => popular(world.events);
export const somePost = (world) => popular(world.posts);
export const somePerson = (world) => popular(world.people);
