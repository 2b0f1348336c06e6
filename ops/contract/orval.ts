import { createPost, listPosts, logIn, reactToPost, register } from './generated/orval/client.js';
import { BASE, use } from './use.js';

// The client's addresses are relative to the server, as in a page of its own.
const own = globalThis.fetch;
globalThis.fetch = (input, init) => own(typeof input === 'string' && input.startsWith('/') ? BASE + input : input, init);
const bearer = (token: string): RequestInit => ({ headers: { Authorization: `Bearer ${token}` } });

await use('orval', {
  register: async (account) => {
    const answer = await register(account);
    if (answer.status !== 201) throw new Error(JSON.stringify(answer.data));
    return answer.data;
  },
  logIn: async (credentials) => {
    const answer = await logIn(credentials);
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.data));
    return answer.data;
  },
  createPost: async (token, content) => {
    const answer = await createPost({ content }, bearer(token));
    if (answer.status !== 201) throw new Error(JSON.stringify(answer.data));
    return answer.data;
  },
  feed: async (token) => {
    const answer = await listPosts({ limit: 5 }, bearer(token));
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.data));
    return answer.data;
  },
  react: async (token, id) => {
    const answer = await reactToPost(id, { reactionType: 'heart' }, bearer(token));
    if (answer.status !== 200) throw new Error(JSON.stringify(answer.data));
    return answer.data;
  },
  refused: async (token) => {
    const answer = await createPost({ content: '' }, bearer(token));
    return { status: answer.status, code: answer.status === 400 ? answer.data.code : '' };
  },
});
