// SPDX-License-Identifier: Apache-2.0
// A language model of chance, small and always the same, as a GGUF file (llama.cpp's format,
// version 3): what it says is nonsense, but every multiplication in it is one.
import fs from "node:fs";

const EMBEDDING = 256, LAYERS = 2, HEADS = 4, KV_HEADS = 2, FEED_FORWARD = 512, VOCABULARY = 259;
const HEAD = EMBEDDING / HEADS;

const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32LE(n); return b; };
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(BigInt(n)); return b; };
const f32 = (n) => { const b = Buffer.alloc(4); b.writeFloatLE(n); return b; };
const text = (s) => Buffer.concat([u64(Buffer.byteLength(s)), Buffer.from(s)]);

// --- Metadata --------------------------------------------------------------------------------

const U32 = 4, I32 = 5, F32 = 6, STRING = 8, ARRAY = 9;
const string = (key, s) => Buffer.concat([text(key), u32(STRING), text(s)]);
const number = (key, n) => Buffer.concat([text(key), u32(U32), u32(n)]);
const real = (key, n) => Buffer.concat([text(key), u32(F32), f32(n)]);
const array = (key, type, items) =>
    Buffer.concat([text(key), u32(ARRAY), u32(type), u64(items.length), ...items]);

function metadata() {
    const NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6;
    const tokens = ["<unk>", "<s>", "</s>"];
    const types = [UNKNOWN, CONTROL, CONTROL];
    while (tokens.length < VOCABULARY) {
        const byte = (tokens.length - 3).toString(16).toUpperCase().padStart(2, "0");
        tokens.push(`<0x${byte}>`);
        types.push(byte ? BYTE : NORMAL);
    }
    return [
        string("general.architecture", "llama"),
        number("llama.context_length", 512),
        number("llama.embedding_length", EMBEDDING),
        number("llama.block_count", LAYERS),
        number("llama.feed_forward_length", FEED_FORWARD),
        number("llama.attention.head_count", HEADS),
        number("llama.attention.head_count_kv", KV_HEADS),
        number("llama.rope.dimension_count", HEAD),
        real("llama.attention.layer_norm_rms_epsilon", 1e-5),
        number("llama.vocab_size", VOCABULARY),
        string("tokenizer.ggml.model", "llama"),
        array("tokenizer.ggml.tokens", STRING, tokens.map(text)),
        array("tokenizer.ggml.scores", F32, tokens.map(() => f32(0))),
        array("tokenizer.ggml.token_type", I32, types.map(u32)),
        number("tokenizer.ggml.bos_token_id", 1),
        number("tokenizer.ggml.eos_token_id", 2),
        number("tokenizer.ggml.unknown_token_id", 0),
    ];
}

// --- Weights ---------------------------------------------------------------------------------

let seed = 12345;
function chance() { // -1 to 1
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return ((seed >>> 8) / (1 << 24)) * 2 - 1;
}
const byte = () => ((chance() + 1) * 128) & 255;

function half(x) { // towards zero; what is too small is 0
    const bits = new Uint32Array(new Float32Array([x]).buffer)[0];
    const exponent = ((bits >>> 23) & 255) - 112;
    return ((bits >>> 16) & 0x8000) | (exponent <= 0 ? 0 : (exponent << 10) | ((bits & 0x7fffff) >>> 13));
}

// N weights of about SCALE, as ggml stores them (ggml-common.h says what a block is).
const blocks = (n, per, bytes, fill) => {
    const b = Buffer.alloc((n / per) * bytes);
    for (let at = 0; at < b.length; at += bytes)
        fill(b, at);
    return b;
};
const formats = {
    f32: { type: 0, make: (n) => blocks(n, 1, 4, (b, at) => b.writeFloatLE(1 + 0.1 * chance(), at)) },
    f16: { type: 1, make: (n, scale) => blocks(n, 1, 2, (b, at) => b.writeUInt16LE(half(chance() * scale), at)) },
    q4_0: {
        type: 2,
        make: (n, scale) => blocks(n, 32, 18, (b, at) => {
            b.writeUInt16LE(half(scale / 8), at);
            for (let i = 0; i < 16; i++)
                b[at + 2 + i] = byte();
        }),
    },
    q8_0: {
        type: 8,
        make: (n, scale) => blocks(n, 32, 34, (b, at) => {
            b.writeUInt16LE(half(scale / 127), at);
            for (let i = 0; i < 32; i++)
                b.writeInt8(Math.round(chance() * 127), at + 2 + i);
        }),
    },
    q4_K: {
        type: 12,
        make: (n, scale) => blocks(n, 256, 144, (b, at) => {
            b.writeUInt16LE(half(scale / (8 * 32)), at);
            b.writeUInt16LE(half(scale / 32), at + 2);
            for (let i = 4; i < 144; i++)
                b[at + i] = byte();
        }),
    },
};

function tensors(kinds) {
    const all = [];
    const add = (name, dims, format) => {
        const n = dims.reduce((a, b) => a * b);
        all.push({ name, dims, format, data: formats[format].make(n, 1.7 / Math.sqrt(dims[0])) });
    };
    let next = 0;
    const weights = (name, from, to) => add(name, [from, to], kinds[next++ % kinds.length]);
    add("token_embd.weight", [EMBEDDING, VOCABULARY], "f16");
    add("output_norm.weight", [EMBEDDING], "f32");
    weights("output.weight", EMBEDDING, VOCABULARY);
    for (let i = 0; i < LAYERS; i++) {
        add(`blk.${i}.attn_norm.weight`, [EMBEDDING], "f32");
        add(`blk.${i}.ffn_norm.weight`, [EMBEDDING], "f32");
        weights(`blk.${i}.attn_q.weight`, EMBEDDING, EMBEDDING);
        weights(`blk.${i}.attn_k.weight`, EMBEDDING, KV_HEADS * HEAD);
        weights(`blk.${i}.attn_v.weight`, EMBEDDING, KV_HEADS * HEAD);
        weights(`blk.${i}.attn_output.weight`, EMBEDDING, EMBEDDING);
        weights(`blk.${i}.ffn_gate.weight`, EMBEDDING, FEED_FORWARD);
        weights(`blk.${i}.ffn_up.weight`, EMBEDDING, FEED_FORWARD);
        weights(`blk.${i}.ffn_down.weight`, FEED_FORWARD, EMBEDDING);
    }
    return all;
}

// --- The file --------------------------------------------------------------------------------

const ALIGNMENT = 32;
const padded = (b) => Buffer.concat([b, Buffer.alloc((ALIGNMENT - (b.length % ALIGNMENT)) % ALIGNMENT)]);

// KINDS: the formats of the weights, in turns.
export function writeModel(path, kinds) {
    const facts = metadata(), all = tensors(kinds), infos = [];
    let at = 0;
    for (const t of all) {
        infos.push(text(t.name), u32(t.dims.length), ...t.dims.map(u64), u32(formats[t.format].type), u64(at));
        at += padded(t.data).length;
    }
    const head = [Buffer.from("GGUF"), u32(3), u64(all.length), u64(facts.length), ...facts, ...infos];
    fs.writeFileSync(path, Buffer.concat([padded(Buffer.concat(head)), ...all.map((t) => padded(t.data))]));
}
