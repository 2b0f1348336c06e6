// One file with a function for each operation, on the platform's own fetch.
export default {
  mundotango: {
    input: process.env.MUNDOTANGO_DOCUMENT,
    output: { target: 'generated/orval/client.ts', client: 'fetch', mode: 'single', override: { requestOptions: true } },
  },
};
