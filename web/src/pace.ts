// How often an answer that streams in is shown: at most twenty times a second, and so seldom that showing it takes a small
// share of the time, however long the answer and however slow the machine.
const kLeast = 50; // ms from one to the next
const kMost = 400;
const kShare = 1 / 80;

// Shows, and ends when the next time has come. Who reads a stream meanwhile wakes up once for all that came.
export async function paced(show: () => void): Promise<void> {
  const began = performance.now();
  show();
  await Promise.resolve(); // it is drawn, and laid out where what is drawn asks for that
  const took = performance.now() - began;
  await new Promise((done) => setTimeout(done, Math.min(kMost, Math.max(kLeast, took / kShare))));
}
