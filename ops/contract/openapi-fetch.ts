import createClient from 'openapi-fetch';
import type { paths } from './generated/openapi-typescript/api.js';
import { BASE, use } from './use.js';

const api = createClient<paths>({ baseUrl: BASE });
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

function good<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

await use('openapi-fetch', {
  register: async (body) => good(await api.POST('/api/auth/register', { body })),
  logIn: async (body) => good(await api.POST('/api/auth/login', { body })),
  createPost: async (token, content) => good(await api.POST('/api/posts', { headers: bearer(token), body: { content } })),
  feed: async (token) => good(await api.GET('/api/posts', { headers: bearer(token), params: { query: { limit: 5 } } })),
  react: async (token, id) =>
    good(await api.POST('/api/posts/{id}/react', { headers: bearer(token), params: { path: { id } }, body: { reactionType: 'heart' } })),
  refused: async (token) => {
    const { error, response } = await api.POST('/api/posts', { headers: bearer(token), body: { content: '' } });
    return { status: response.status, code: error?.code ?? '' };
  },
});
