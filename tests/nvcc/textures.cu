/* SPDX-License-Identifier: Apache-2.0 */
/* Texture and surface objects, against the same by the host. */
#include <cmath>
#include <cstring>

#include "check.h"

enum { W = 37, H = 23, D = 5 };

__global__ void points(float *out, cudaTextureObject_t t, float x0, float y0, float step)
{
    int i = threadIdx.x, j = blockIdx.x;
    out[j * W + i] = tex2D<float>(t, x0 + i * step, y0 + j * step);
}

__global__ void bytes(int *out, cudaTextureObject_t t)
{
    int i = threadIdx.x;
    uchar4 c = tex1Dfetch<uchar4>(t, i - 3);
    out[i] = c.x + 1000 * c.w;
}

__global__ void deep(float *out, cudaTextureObject_t volume, cudaTextureObject_t layers)
{
    int i = threadIdx.x, z = blockIdx.x;
    out[z * W + i] = tex3D<float>(volume, i + 0.5f, 2.5f, z + 0.25f) +
                     100 * tex2DLayered<float>(layers, i + 0.5f, 1.5f, z);
}

__global__ void turn(cudaSurfaceObject_t from, cudaSurfaceObject_t to)
{
    int i = threadIdx.x, j = blockIdx.x;
    float2 v;
    surf2Dread(&v, from, i * 8, j);
    v.x += v.y;
    surf2Dwrite(v, to, (W - 1 - i) * 8, H - 1 - j);
    surf2Dread(&v, from, i * 8 + 80, j, cudaBoundaryModeZero);
    surf2Dwrite(v, to, i * 8, j + H, cudaBoundaryModeZero);
}

static float pixel[H][W];
static float out[H * W];
static float *device;

static int wrap(int i, int n, cudaTextureAddressMode mode)
{
    if (i >= 0 && i < n)
        return i;
    if (mode == cudaAddressModeBorder)
        return -1;
    if (mode == cudaAddressModeWrap)
        return ((i % n) + n) % n;
    if (mode == cudaAddressModeMirror) {
        int k = ((i % (2 * n)) + 2 * n) % (2 * n);
        return k < n ? k : 2 * n - 1 - k;
    }
    return i < 0 ? 0 : n - 1;
}

static float at(int x, int y, cudaTextureAddressMode mode)
{
    x = wrap(x, W, mode);
    y = wrap(y, H, mode);
    return x < 0 || y < 0 ? 0 : pixel[y][x];
}

static float expected(float x, float y, cudaTextureAddressMode mode, bool linear)
{
    if (!linear)
        return at((int)floorf(x), (int)floorf(y), mode);
    float lx = floorf(x - 0.5f), ly = floorf(y - 0.5f);
    float a = roundf((x - 0.5f - lx) * 256) / 256, b = roundf((y - 0.5f - ly) * 256) / 256;
    int i = (int)lx, j = (int)ly;
    return (1 - a) * (1 - b) * at(i, j, mode) + a * (1 - b) * at(i + 1, j, mode) +
           (1 - a) * b * at(i, j + 1, mode) + a * b * at(i + 1, j + 1, mode);
}

static void look(const cudaResourceDesc *r, cudaTextureAddressMode mode, bool linear,
                 bool normalized)
{
    cudaTextureDesc d;
    cudaTextureObject_t t;
    int wrong = 0;
    memset(&d, 0, sizeof(d));
    d.addressMode[0] = d.addressMode[1] = mode;
    d.filterMode = linear ? cudaFilterModeLinear : cudaFilterModePoint;
    d.normalizedCoords = normalized;
    CHECK(cudaCreateTextureObject(&t, r, &d, NULL));
    float x0 = normalized ? -0.7f : -9.3f, y0 = normalized ? -0.6f : -4.2f;
    float step = normalized ? 0.0625f : 1.75f;
    points<<<H, W>>>(device, t, x0, y0, step);
    CHECK(cudaMemcpy(out, device, sizeof(out), cudaMemcpyDefault));
    for (int j = 0; j < H; j++) {
        for (int i = 0; i < W; i++) {
            float x = (x0 + i * step) * (normalized ? W : 1);
            float y = (y0 + j * step) * (normalized ? H : 1);
            wrong += fabsf(out[j * W + i] - expected(x, y, mode, linear)) > 4;
        }
    }
    printf("mode %d, linear %d, normalized %d: %d wrong\n", (int)mode, linear, normalized, wrong);
    CHECK(cudaDestroyTextureObject(t));
}

static void flat(void)
{
    cudaChannelFormatDesc f = cudaCreateChannelDesc<float>();
    cudaResourceDesc r;
    cudaArray_t a;
    size_t pitch;
    float *rows;
    CHECK(cudaMallocArray(&a, &f, W, H));
    CHECK(cudaMemcpy2DToArray(a, 0, 0, pixel, W * 4, W * 4, H, cudaMemcpyHostToDevice));
    memset(&r, 0, sizeof(r));
    r.resType = cudaResourceTypeArray;
    r.res.array.array = a;
    for (int linear = 0; linear < 2; linear++) {
        look(&r, cudaAddressModeClamp, linear, false);
        look(&r, cudaAddressModeBorder, linear, false);
        look(&r, cudaAddressModeWrap, linear, true);
        look(&r, cudaAddressModeMirror, linear, true);
        look(&r, cudaAddressModeClamp, linear, true);
    }
    CHECK(cudaMallocPitch(&rows, &pitch, W * 4, H));
    CHECK(cudaMemcpy2DFromArray(rows, pitch, a, 0, 0, W * 4, H, cudaMemcpyDefault));
    memset(&r, 0, sizeof(r));
    r.resType = cudaResourceTypePitch2D;
    r.res.pitch2D.devPtr = rows;
    r.res.pitch2D.desc = f;
    r.res.pitch2D.width = W;
    r.res.pitch2D.height = H;
    r.res.pitch2D.pitchInBytes = pitch;
    look(&r, cudaAddressModeClamp, true, false);
    CHECK(cudaFree(rows));
    CHECK(cudaFreeArray(a));
}

static void memory(void)
{
    cudaResourceDesc r;
    cudaTextureDesc d;
    cudaTextureObject_t t;
    unsigned char host[4 * 32];
    unsigned char *p;
    int *sums, got[40], wrong = 0;
    for (int i = 0; i < 128; i++)
        host[i] = (unsigned char)(i * 37);
    CHECK(cudaMalloc(&p, sizeof(host)));
    CHECK(cudaMalloc(&sums, sizeof(got)));
    CHECK(cudaMemcpy(p, host, sizeof(host), cudaMemcpyDefault));
    memset(&r, 0, sizeof(r));
    memset(&d, 0, sizeof(d));
    r.resType = cudaResourceTypeLinear;
    r.res.linear.devPtr = p;
    r.res.linear.desc = cudaCreateChannelDesc<uchar4>();
    r.res.linear.sizeInBytes = sizeof(host);
    CHECK(cudaCreateTextureObject(&t, &r, &d, NULL));
    bytes<<<1, 40>>>(sums, t);
    CHECK(cudaMemcpy(got, sums, sizeof(got), cudaMemcpyDefault));
    for (int i = 0; i < 40; i++) {
        int k = i - 3;
        wrong += got[i] != (k < 0 || k >= 32 ? 0 : host[4 * k] + 1000 * host[4 * k + 3]);
    }
    printf("bytes: %d wrong\n", wrong);
    CHECK(cudaDestroyTextureObject(t));
    SHOW(cudaDestroyTextureObject(t));
    CHECK(cudaFree(p));
    CHECK(cudaFree(sums));
}

static void volumes(void)
{
    static float box[D][H][W];
    cudaChannelFormatDesc f = cudaCreateChannelDesc<float>();
    cudaExtent size = make_cudaExtent(W, H, D);
    cudaArray_t a, layers;
    cudaTextureObject_t t, u;
    cudaResourceDesc r;
    cudaTextureDesc d;
    cudaMemcpy3DParms copy = {0};
    int wrong = 0;
    for (int i = 0; i < W * H * D; i++)
        (&box[0][0][0])[i] = (float)(i % 251);
    CHECK(cudaMalloc3DArray(&a, &f, size));
    CHECK(cudaMalloc3DArray(&layers, &f, size, cudaArrayLayered));
    copy.srcPtr = make_cudaPitchedPtr(box, W * 4, W, H);
    copy.extent = size;
    copy.kind = cudaMemcpyHostToDevice;
    copy.dstArray = a;
    CHECK(cudaMemcpy3D(&copy));
    copy.dstArray = layers;
    CHECK(cudaMemcpy3D(&copy));
    memset(&r, 0, sizeof(r));
    memset(&d, 0, sizeof(d));
    d.addressMode[0] = d.addressMode[1] = d.addressMode[2] = cudaAddressModeClamp;
    r.resType = cudaResourceTypeArray;
    r.res.array.array = a;
    CHECK(cudaCreateTextureObject(&t, &r, &d, NULL));
    r.res.array.array = layers;
    CHECK(cudaCreateTextureObject(&u, &r, &d, NULL));
    deep<<<D, W>>>(device, t, u);
    CHECK(cudaMemcpy(out, device, D * W * 4, cudaMemcpyDefault));
    for (int z = 0; z < D; z++) {
        for (int i = 0; i < W; i++)
            wrong += out[z * W + i] != box[z][2][i] + 100 * box[z][1][i];
    }
    printf("volume and layers: %d wrong\n", wrong);
    CHECK(cudaDestroyTextureObject(t));
    CHECK(cudaDestroyTextureObject(u));
    CHECK(cudaFreeArray(a));
    CHECK(cudaFreeArray(layers));
}

static void surfaces(void)
{
    static float2 in[H][W], got[H][W];
    cudaChannelFormatDesc f = cudaCreateChannelDesc<float2>();
    cudaArray_t a, b;
    cudaSurfaceObject_t s, t;
    cudaResourceDesc r;
    int wrong = 0;
    for (int i = 0; i < W * H; i++)
        (&in[0][0])[i] = make_float2((float)i, (float)(i * 3));
    CHECK(cudaMallocArray(&a, &f, W, H, cudaArraySurfaceLoadStore));
    CHECK(cudaMallocArray(&b, &f, W, H, cudaArraySurfaceLoadStore));
    CHECK(cudaMemcpy2DToArray(a, 0, 0, in, W * 8, W * 8, H, cudaMemcpyHostToDevice));
    memset(&r, 0, sizeof(r));
    r.resType = cudaResourceTypeArray;
    r.res.array.array = a;
    CHECK(cudaCreateSurfaceObject(&s, &r));
    r.res.array.array = b;
    CHECK(cudaCreateSurfaceObject(&t, &r));
    turn<<<H, W>>>(s, t);
    CHECK(cudaMemcpy2DFromArray(got, W * 8, b, 0, 0, W * 8, H, cudaMemcpyDeviceToHost));
    for (int j = 0; j < H; j++) {
        for (int i = 0; i < W; i++) {
            float2 v = in[H - 1 - j][W - 1 - i];
            wrong += got[j][i].x != v.x + v.y || got[j][i].y != v.y;
        }
    }
    printf("surfaces: %d wrong\n", wrong);
    CHECK(cudaDestroySurfaceObject(s));
    CHECK(cudaDestroySurfaceObject(t));
    CHECK(cudaFreeArray(a));
    CHECK(cudaFreeArray(b));
}

int main()
{
    for (int i = 0; i < W * H; i++)
        (&pixel[0][0])[i] = (float)((i * 7919) % 1000);
    CHECK(cudaMalloc(&device, sizeof(out)));
    flat();
    memory();
    volumes();
    surfaces();
    CHECK(cudaFree(device));
    return 0;
}
