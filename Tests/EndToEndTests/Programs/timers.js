// Counts on a timer, keeps a promise pending and answers lines on stdin: "label TEXT" sets, "tell" tells.
let count = 0;
let label = "none";
let resolved = 0;
setInterval(() => { count++; }, 5);
const chain = async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 7));
    resolved++;
  }
};
chain();
const keep = new Map(Array.from({ length: 10000 }, (_, index) => [`key${index}`, { index }]));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [word, ...rest] = line.split(" ");
  if (word === "label") label = rest.join(" ");
  if (word === "tell") console.log(`${label} ${keep.get("key9999").index} ${count} ${resolved}`);
});
