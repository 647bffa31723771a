/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcurand */
/* cuRAND: what the GPU draws is what the CPU draws from the same seed. */
#include <cmath>
#include <curand.h>
#include <vector>

#include "../nvcc/check.h"

#define RAND(call)                                                                                 \
    do {                                                                                           \
        curandStatus_t rand_rc = (call);                                                           \
        if (rand_rc != CURAND_STATUS_SUCCESS) {                                                    \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, rand_rc);                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void draw(const char *name, curandRngType_t type)
{
    const size_t n = 4096;
    std::vector<float> here(n), there(n);
    std::vector<unsigned> bits_here(n), bits_there(n);
    curandGenerator_t cpu, gpu;
    unsigned *bits;
    float *x;
    CHECK(cudaMalloc(&x, n * sizeof(float)));
    CHECK(cudaMalloc(&bits, n * sizeof(unsigned)));
    RAND(curandCreateGeneratorHost(&cpu, type));
    RAND(curandCreateGenerator(&gpu, type));
    for (curandGenerator_t g : {cpu, gpu})
        RAND(curandSetPseudoRandomGeneratorSeed(g, 1234));
    RAND(curandGenerate(cpu, bits_here.data(), n));
    RAND(curandGenerate(gpu, bits, n));
    RAND(curandGenerateUniform(cpu, here.data(), n));
    RAND(curandGenerateUniform(gpu, x, n));
    CHECK(cudaMemcpy(bits_there.data(), bits, n * sizeof(unsigned), cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(there.data(), x, n * sizeof(float), cudaMemcpyDeviceToHost));
    int wrong = 0, far = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += bits_here[i] != bits_there[i];
        wrong += here[i] != there[i];
    }
    /* Functions with tables and logarithms may differ in their last bits. */
    RAND(curandGenerateNormal(cpu, here.data(), n, 0.0f, 1.0f));
    RAND(curandGenerateNormal(gpu, x, n, 0.0f, 1.0f));
    CHECK(cudaMemcpy(there.data(), x, n * sizeof(float), cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < n; i++)
        far += std::fabs(here[i] - there[i]) > 1e-4f;
    printf("%s: %d wrong, %d far\n", name, wrong, far);
    RAND(curandDestroyGenerator(cpu));
    RAND(curandDestroyGenerator(gpu));
    CHECK(cudaFree(x));
    CHECK(cudaFree(bits));
}

int main()
{
    draw("XORWOW", CURAND_RNG_PSEUDO_XORWOW);
    draw("Philox", CURAND_RNG_PSEUDO_PHILOX4_32_10);
    draw("MRG32k3a", CURAND_RNG_PSEUDO_MRG32K3A);
    return 0;
}
