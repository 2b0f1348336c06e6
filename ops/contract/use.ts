// What each client does, through functions of its own.

/** What a client has to offer. Each returns what the server answered. */
export interface Client {
  register(account: { email: string; password: string; username: string; fullName: string }): Promise<{ token: string }>;
  logIn(credentials: { email: string; password: string }): Promise<{ token: string }>;
  createPost(token: string, content: string): Promise<{ id: string; content: string }>;
  feed(token: string): Promise<{ items: { id: string; myReaction: string | null }[]; nextCursor: string | null }>;
  react(token: string, id: string): Promise<{ myReaction: string | null; reactions: Record<string, number> }>;
  /** The status of an answer to a post that may not be. */
  refused(token: string): Promise<{ status: number; code: string }>;
}

export const BASE = process.env.MUNDOTANGO_URL ?? 'http://127.0.0.1:5000';

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

export async function use(name: string, client: Client): Promise<void> {
  const username = `${name}-${Date.now().toString(36)}`;
  const account = { email: `${username}@example.com`, password: 'abrazo-1234', username, fullName: 'Ana' };
  await client.register(account);
  const { token } = await client.logIn({ email: account.email, password: account.password });
  const post = await client.createPost(token, `By ${name}`);
  must(post.content === `By ${name}`, `another post: ${JSON.stringify(post)}`);
  const feed = await client.feed(token);
  must(feed.items[0]?.id === post.id && feed.items[0].myReaction === null, `another feed: ${JSON.stringify(feed)}`);
  const reacted = await client.react(token, post.id);
  must(reacted.myReaction === 'heart' && reacted.reactions.heart === 1, `no reaction: ${JSON.stringify(reacted)}`);
  const refused = await client.refused(token);
  must(refused.status === 400 && refused.code === 'invalid_input', `not refused: ${JSON.stringify(refused)}`);
  console.log(`${name}: registered, logged in, posted, read, reacted, was refused`);
}
