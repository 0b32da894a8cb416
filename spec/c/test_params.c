/* How many parameters which libpq can describe.
 *
 * To see it fail: change one of the versions in lph_params_limit.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/params.h"

static void each_branch_was_mended_in_a_version_of_its_own(void **state) {
  (void)state;
  static const struct {
    int libpq, limit;
  } list[] = {
    {100023, LPH_PARAMS_OLD}, {130023, LPH_PARAMS_OLD}, {140000, LPH_PARAMS_OLD}, {140023, LPH_PARAMS_OLD},
    {140024, LPH_PARAMS_MAX}, {150018, LPH_PARAMS_OLD}, {150019, LPH_PARAMS_MAX}, {160014, LPH_PARAMS_OLD},
    {160015, LPH_PARAMS_MAX}, {170010, LPH_PARAMS_OLD}, {170011, LPH_PARAMS_MAX}, {180004, LPH_PARAMS_OLD},
    {180006, LPH_PARAMS_MAX}, {190000, LPH_PARAMS_MAX}, {200001, LPH_PARAMS_MAX},
  };
  for (size_t i = 0; i < lph_countof(list); i++)
    assert_int_equal(lph_params_limit(list[i].libpq), list[i].limit);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_branch_was_mended_in_a_version_of_its_own)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
