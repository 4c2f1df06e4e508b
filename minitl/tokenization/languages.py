"""The languages of the multilingual translators, and what an encoding says of its own.

    mBART-25   text </s> en_XX          (Liu et al. 2020, arXiv:2001.08210)
    mBART-50   en_XX text </s>          (Tang et al. 2020, arXiv:2008.00401)
    M2M100     __en__ text </s>         (Fan et al. 2021, arXiv:2010.11125)
    NLLB-200   eng_Latn text </s>       (NLLB team 2022, arXiv:2207.04672)

Where NLLB's `legacy_behaviour` is set, the language stands as in mBART-25.

A language is a token of the vocabulary. The codes below are facts of the published vocabularies, in the order of their
ids, which follow one another.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer, processors

from minitl.errors import InputError

LANGUAGE = "{language}"  # its place in a template


@dataclass(frozen=True)
class LanguageSet:
    """The languages of one published vocabulary.

    codes      in the order of their ids
    spelling   a regular expression for a language's token; its group is the code
    token      how the vocabulary writes a code
    source     the language of texts where the configuration names none
    opens      whether a decoder begins with its target's language; otherwise it begins as ever and writes that first
    """

    codes: tuple[str, ...]
    spelling: str
    source: str
    token: str = "{}"
    opens: bool = False

    @property
    def tokens(self) -> list[str]:
        return [self.token.format(code) for code in self.codes]


@dataclass
class Languages:
    """The languages of one tokenizer, and those in use.

    ids                code -> id, by id
    tokens             code -> token
    single, pair       what stands around one text, or two, with LANGUAGE in its place
    source, target     codes; no target until it is set
    opens              as in `LanguageSet`
    published_class    the class under which other libraries know such a tokenizer
    switches           what of its configuration has to be repeated for them
    """

    ids: dict[str, int]
    tokens: dict[str, str]
    single: Sequence[str]
    pair: Sequence[str]
    source: str
    target: str | None = None
    opens: bool = False
    published_class: str = ""
    switches: Mapping[str, Any] = field(default_factory=dict)

    def known(self, code: str) -> str:
        """The code itself; InputError lists near ones where there is no such language."""
        if not isinstance(code, str) or code not in self.tokens:
            raise InputError(f"{code!r} is no language of this tokenizer; {suggestion(str(code), list(self.tokens))}")
        return code

    def template(self, backend: Tokenizer, code: str) -> processors.TemplateProcessing:
        """What puts the language `code` and the end token around texts."""
        token = self.tokens[code]
        single, pair = ([token if piece == LANGUAGE else piece for piece in part] for part in (self.single, self.pair))
        special = {piece: backend.token_to_id(piece) for piece in pair if not piece.startswith("$")}
        return processors.TemplateProcessing(single=single, pair=pair, special_tokens=list(special.items()))


def suggestion(code: str, known: Sequence[str]) -> str:
    """What to say to someone who wrote a language that is not among `known`: the codes that begin alike or look alike.

    "french" and "fr" begin as "fra_Latn" and "fr_XX" do, if only with two letters; nothing is guessed from a code.
    """
    if not known:
        return "its vocabulary has none"
    word = re.sub("[^a-z]", "", code.lower())
    alike: list[str] = []
    for letters in range(len(word), 1, -1):
        alike = [one for one in known if one.lower().startswith(word[:letters])]
        if alike:
            break
    near = list(dict.fromkeys([*alike, *difflib.get_close_matches(code, known, n=3)]))[:8]
    if near:
        return f"near ones: {', '.join(near)} (of {len(known)}, see tokenizer.languages)"
    return f"it knows {len(known)}: {', '.join(known[:8])}{', …' if len(known) > 8 else ''}"


_MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX "
    "ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
_MBART_MORE = (
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN "
    "te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
_M2M100 = (
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy "
    "id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru "
    "sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
)
_NLLB = (
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab "
    "ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl "
    "bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn "
    "cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn "
    "est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn "
    "gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn "
    "ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab "
    "kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn "
    "kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn "
    "lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn "
    "mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn "
    "ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn "
    "sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn "
    "szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn "
    "tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn "
    "vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn"
)

MBART25 = LanguageSet(tuple(_MBART.split()), "([a-z]{2}_[A-Z]{2})", source="en_XX", opens=True)
MBART50 = LanguageSet(tuple(f"{_MBART} {_MBART_MORE}".split()), "([a-z]{2}_[A-Z]{2})", source="en_XX")
M2M100 = LanguageSet(tuple(_M2M100.split()), "__([a-z]{2,3})__", source="en", token="__{}__")
WMT21 = LanguageSet(("en", "ha", "is", "ja", "cs", "ru", "zh", "de"), "__([a-z]{2,3})__", source="en", token="__{}__")
NLLB200 = LanguageSet(tuple(_NLLB.split()), "([a-z]{3}_[A-Z][a-z]{3})", source="eng_Latn")
