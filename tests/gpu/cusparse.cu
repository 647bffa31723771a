/* SPDX-License-Identifier: Apache-2.0 */
/* nvcc: -lcusparse */
/* cuSPARSE: a sparse matrix times a vector and a dense matrix. */
#include <cmath>
#include <cusparse.h>
#include <vector>

#include "../nvcc/check.h"

#define SPARSE(call)                                                                               \
    do {                                                                                           \
        cusparseStatus_t sparse_rc = (call);                                                       \
        if (sparse_rc != CUSPARSE_STATUS_SUCCESS) {                                                \
            printf("%s:%d: %s: %d\n", __FILE__, __LINE__, #call, sparse_rc);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const int n = 300, columns = 5;

struct csr {
    std::vector<int> row, column;
    std::vector<float> value;
};

/* Some entries in each row, at places that differ. */
static csr example()
{
    csr m;
    m.row.push_back(0);
    for (int i = 0; i < n; i++) {
        for (int j = (i * 7) % 11; j < n; j += 11 + i % 5) {
            m.column.push_back(j);
            m.value.push_back((float)((i + j) % 9) - 4);
        }
        m.row.push_back((int)m.column.size());
    }
    return m;
}

template <class T> static T *on_device(const std::vector<T> &from)
{
    T *d;
    CHECK(cudaMalloc(&d, from.size() * sizeof(T)));
    CHECK(cudaMemcpy(d, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    return d;
}

static int differ(const csr &m, const std::vector<float> &b, const float *result, int many)
{
    std::vector<float> got((size_t)n * many);
    int wrong = 0;
    CHECK(cudaMemcpy(got.data(), result, got.size() * sizeof(float), cudaMemcpyDeviceToHost));
    for (int c = 0; c < many; c++) {
        for (int i = 0; i < n; i++) {
            float sum = 0;
            for (int k = m.row[i]; k < m.row[i + 1]; k++)
                sum += m.value[k] * b[(size_t)c * n + m.column[k]];
            wrong += std::fabs(sum - got[(size_t)c * n + i]) > 1e-3f * (1 + std::fabs(sum));
        }
    }
    return wrong;
}

int main()
{
    const csr m = example();
    const float one = 1, zero = 0;
    std::vector<float> b((size_t)n * columns), nothing((size_t)n * columns);
    for (size_t i = 0; i < b.size(); i++)
        b[i] = (float)(i % 13) - 6;
    int *row = on_device(m.row), *column = on_device(m.column);
    float *value = on_device(m.value), *db = on_device(b), *dc = on_device(nothing);
    cusparseHandle_t handle;
    cusparseSpMatDescr_t a;
    cusparseDnVecDescr_t x, y;
    cusparseDnMatDescr_t in, out;
    size_t bytes;
    void *room;
    SPARSE(cusparseCreate(&handle));
    SPARSE(cusparseCreateCsr(&a, n, n, (int64_t)m.value.size(), row, column, value,
                             CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO,
                             CUDA_R_32F));
    SPARSE(cusparseCreateDnVec(&x, n, db, CUDA_R_32F));
    SPARSE(cusparseCreateDnVec(&y, n, dc, CUDA_R_32F));
    SPARSE(cusparseSpMV_bufferSize(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, &one, a, x, &zero, y,
                                   CUDA_R_32F, CUSPARSE_SPMV_ALG_DEFAULT, &bytes));
    CHECK(cudaMalloc(&room, bytes + 1));
    SPARSE(cusparseSpMV(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, &one, a, x, &zero, y, CUDA_R_32F,
                        CUSPARSE_SPMV_ALG_DEFAULT, room));
    printf("matrix times vector: %d wrong\n", differ(m, b, dc, 1));
    CHECK(cudaFree(room));

    SPARSE(cusparseCreateDnMat(&in, n, columns, n, db, CUDA_R_32F, CUSPARSE_ORDER_COL));
    SPARSE(cusparseCreateDnMat(&out, n, columns, n, dc, CUDA_R_32F, CUSPARSE_ORDER_COL));
    SPARSE(cusparseSpMM_bufferSize(handle, CUSPARSE_OPERATION_NON_TRANSPOSE,
                                   CUSPARSE_OPERATION_NON_TRANSPOSE, &one, a, in, &zero, out,
                                   CUDA_R_32F, CUSPARSE_SPMM_ALG_DEFAULT, &bytes));
    CHECK(cudaMalloc(&room, bytes + 1));
    SPARSE(cusparseSpMM(handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_NON_TRANSPOSE,
                        &one, a, in, &zero, out, CUDA_R_32F, CUSPARSE_SPMM_ALG_DEFAULT, room));
    printf("matrix times matrix: %d wrong\n", differ(m, b, dc, columns));
    CHECK(cudaFree(room));
    SPARSE(cusparseDestroySpMat(a));
    SPARSE(cusparseDestroyDnVec(x));
    SPARSE(cusparseDestroyDnVec(y));
    SPARSE(cusparseDestroyDnMat(in));
    SPARSE(cusparseDestroyDnMat(out));
    SPARSE(cusparseDestroy(handle));
    return 0;
}
