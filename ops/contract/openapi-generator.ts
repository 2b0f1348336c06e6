import { AuthApi, Configuration, PostsApi, ReactionType, ResponseError } from './generated/openapi-generator/index.js';
import { BASE, use } from './use.js';

const auth = new AuthApi(new Configuration({ basePath: BASE }));
const posts = (token: string) => new PostsApi(new Configuration({ basePath: BASE, accessToken: token }));

await use('openapi-generator', {
  register: (newAccount) => auth.register({ newAccount }),
  logIn: (credentials) => auth.logIn({ credentials }),
  createPost: (token, content) => posts(token).createPost({ newPost: { content } }),
  feed: (token) => posts(token).listPosts({ limit: 5 }),
  react: (token, id) => posts(token).reactToPost({ id, reaction: { reactionType: ReactionType.Heart } }),
  refused: async (token) => {
    try {
      await posts(token).createPost({ newPost: { content: '' } });
      return { status: 201, code: '' };
    } catch (error) {
      if (!(error instanceof ResponseError)) throw error;
      const problem = (await error.response.json()) as { code: string };
      return { status: error.response.status, code: problem.code };
    }
  },
});
