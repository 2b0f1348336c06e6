// Choosing as people do: few things often, most things seldom.

// A number below a bound.
export const below = (bound) => Math.floor(Math.random() * bound);

export const oneOf = (list) => list[below(list.length)];

// One of a list by Zipf's law with the exponent 1 (the inverse of its continuous form): the k-th is taken 1/k
// times as often as the first.
export const popular = (list) => list[Math.floor(Math.pow(list.length + 1, Math.random())) - 1] ?? list[0];

// One of several by weight: [[weight, what], …].
export const weighted = (several) => {
  let point = Math.random() * several.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, what] of several) {
    point -= weight;
    if (point < 0) return what;
  }
  return several[several.length - 1][1];
};

// The same things in another order.
export const shuffled = (list) => {
  const all = [...list];
  for (let last = all.length - 1; last > 0; last -= 1) {
    const other = below(last + 1);
    [all[last], all[other]] = [all[other], all[last]];
  }
  return all;
};
