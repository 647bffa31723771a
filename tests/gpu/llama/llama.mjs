// SPDX-License-Identifier: Apache-2.0
// llama.cpp, as the registry has it, reads a prompt and goes on: quantized and half weights, flash
// attention, CUDA graphs. What the GPU thinks of each place of the prompt is compared with what the
// processor thinks; what it goes on with is printed.
//   llama.mjs [--short]
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { writeModel } from "./gguf.mjs";

const models = { half: ["f16"], quantized: ["q8_0", "q4_0", "q4_K"] };
// Quantized, the processor rounds what it multiplies the weights with, and the GPU does it otherwise.
const tolerance = { half: 0.003, quantized: 0.02 };
const PROMPT = 48;

// Probabilities of each token behind each place of the prompt, and what follows it.
async function think(model, gpu, more) {
    const llama = await getLlama({ gpu, build: "never", skipDownload: true, vramPadding: 0,
                                   logLevel: LlamaLogLevel.error });
    const loaded = await llama.loadModel({ modelPath: model, gpuLayers: gpu ? 3 : 0, useMmap: false });
    const context = await loaded.createContext({ contextSize: 256, batchSize: 128, flashAttention: !!gpu });
    const sequence = context.getSequence();
    const prompt = [1];
    while (prompt.length < PROMPT)
        prompt.push(3 + (prompt.length * 37) % 256);
    const places = await sequence.controlledEvaluate(
        prompt.map((token) => [token, { generateNext: { token: true, probabilities: true } }]));
    const thoughts = places.map((p) => [...p.next.probabilities].sort((a, b) => a[0] - b[0]));
    const said = [], times = [];
    let before = process.hrtime.bigint();
    for await (const token of sequence.evaluate([places.at(-1).next.token], { temperature: 0, yieldEogToken: true })) {
        const now = process.hrtime.bigint();
        times.push(Number(now - before) / 1e9);
        before = now;
        if (said.push(token) === more)
            break;
    }
    return { thoughts, said, seconds: times.sort((a, b) => a - b)[times.length >> 1] };
}

// How many places' thoughts are further apart than LIMIT anywhere.
function far(a, b, limit) {
    return a.filter((thought, i) => {
        const other = new Map(b[i]);
        return thought.some(([token, p]) => Math.abs(p - (other.get(token) ?? 0)) > limit);
    }).length;
}

const [what, file] = process.argv.slice(2);
if (what === "processor") {
    process.stdout.write(JSON.stringify(await think(file, false, 1)), () => process.exit(0));
} else {
    const short = what === "--short", folder = fs.mkdtempSync(path.join(os.tmpdir(), "gi-llama-"));
    let seconds = 0;
    for (const [name, kinds] of Object.entries(models)) {
        const model = path.join(folder, `${name}.gguf`);
        writeModel(model, kinds);
        const right = JSON.parse(execFileSync(process.execPath, [fileURLToPath(import.meta.url), "processor", model],
                                              { maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "inherit"] }));
        const got = await think(model, "cuda", short ? 6 : 100);
        console.log(`${name}: ${PROMPT} places, ${far(right.thoughts, got.thoughts, tolerance[name])} far`);
        console.log(`${name}: ${got.said.join(" ")}`);
        seconds = got.seconds;
    }
    console.log(`seconds: ${seconds.toFixed(6)}`);
    fs.rmSync(folder, { recursive: true });
    process.exit(0); // it would wait for its threads
}
